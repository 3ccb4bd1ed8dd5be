#!/usr/bin/env bash
# Simulated power cuts of storage and metadata: power_cut.sh HISTORIES. Prints the counts that a long job records.
set -euo pipefail
histories=${1:?usage: power_cut.sh HISTORIES}
output=$(WEIR_POWER_CUT_SEEDS=$histories cargo test --locked --release -p weir-storage --test power_cut -- --nocapture 2>&1) || {
  echo "$output" | tail -40
  exit 1
}
acked=$(grep -oE '[0-9]+ acked batches' <<<"$output" | grep -oE '^[0-9]+')
echo "{\"counts\": {\"histories\": $histories, \"acked_batches\": $acked, \"lost\": 0}}"

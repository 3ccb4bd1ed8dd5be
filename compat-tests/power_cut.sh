#!/usr/bin/env bash
# Simulated power cuts of storage and metadata: power_cut.sh HISTORIES [SEED]. Prints the counts that a long job records.
set -euo pipefail
histories=${1:?usage: power_cut.sh HISTORIES [SEED]}
export WEIRTEST_POWER_CUT_SEEDS=$histories WEIRTEST_SEED=${2:-0}
output=$(cargo test --locked -p weir-storage --test power_cut -- --nocapture 2>&1) || {
  echo "$output" | tail -60
  exit 1
}
acked=$(grep -oE '[0-9]+ acked batches' <<<"$output" | grep -oE '^[0-9]+' | awk '{ sum += $1 } END { print sum }')
echo "{\"counts\": {\"histories\": $((3 * histories)), \"acked_batches\": $acked, \"lost\": 0}}"

#!/usr/bin/env bash
# Every in-tree fuzz target for so many seconds: fuzz.sh SECONDS [SEED]. Prints the counts that a long job records.
set -euo pipefail
seconds=${1:?usage: fuzz.sh SECONDS [SEED]}
export WEIRTEST_FUZZ_SECONDS=$seconds WEIRTEST_SEED=${2:-1}
output=$(cargo test --locked -p weir-protocol -p weir-storage -p weir-table -p weir-column --test fuzz -- --nocapture --test-threads 2 2>&1) || {
  echo "$output" | tail -60
  exit 1
}
echo "$output" | grep -E '^fuzz target|folders:'
awk -v seconds="$seconds" '
  /^fuzz target .* inputs,/ { targets++; inputs += $(NF - 3) }
  /folders:/ { targets++; folders += $1 }
  END { printf "{\"counts\": {\"targets\": %d, \"seconds_each\": %d, \"inputs\": %d, \"folders\": %d}}\n", targets, seconds, inputs, folders }
' <<<"$output"

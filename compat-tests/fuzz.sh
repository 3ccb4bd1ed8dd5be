#!/usr/bin/env bash
# Every in-tree fuzz target for so many seconds, two at a time: fuzz.sh SECONDS [SEED]. Prints the counts that a long job records.
#
# The code counts which of its edges an input reaches, so that inputs are found that go further; those that do are kept in each crate's
# tests/corpus, to be committed, and every test run begins with them.
set -euo pipefail
seconds=${1:?usage: fuzz.sh SECONDS [SEED]}
export WEIRTEST_FUZZ_SECONDS=$seconds WEIRTEST_SEED=${2:-1} WEIRTEST_FUZZ_CORPUS=1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
build=(cargo test --locked --no-run --message-format json --test fuzz)
RUSTC_WORKSPACE_WRAPPER=$here/fuzz_rustc.sh "${build[@]}" -p weir-protocol -p weir-table -p weir-column >"$scratch/built"
# These have no inputs that could be kept: folders, and pairs of schemas.
"${build[@]}" -p weir-storage -p weir-registry >>"$scratch/built"
# A target a process: what counts are the edges of the whole process.
python3 - "$scratch/built" >"$scratch/targets" <<'PYTHON'
import json, os, subprocess, sys

for line in open(sys.argv[1]):
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "fuzz":
        listed = subprocess.run([message["executable"], "--list"], capture_output=True, text=True, check=True).stdout
        folder = os.path.dirname(message["manifest_path"])
        for test in listed.splitlines():
            if test.endswith(": test"):
                print(folder, message["executable"], test.removesuffix(": test"))
PYTHON
xargs -P 2 -L 1 bash -c 'cd "$1" && "$2" --exact "$3" --nocapture --test-threads 1 >"$0/$(basename "$2").$3.log" 2>&1 ||
  { echo "$3 FAILED"; tail -40 "$0/$(basename "$2").$3.log"; exit 1; }' "$scratch" <"$scratch/targets"
grep -hE '^fuzz target|folders:' "$scratch"/*.log
cat "$scratch"/*.log | awk -v seconds="$seconds" '
  /^fuzz target .* accepted$/ { targets++; inputs += $(NF - 3) }
  /^fuzz target .* edges,/ { for (n = 1; n < NF; n++) if ($(n + 1) == "edges,") edges += $n }
  /^fuzz target .* edges,/ && $(NF - 1) > slowest { slowest = $(NF - 1) }
  / folders:/ { targets++; for (n = 1; n < NF; n++) if ($(n + 1) == "folders:") folders += $n }
  END { printf "{\"counts\": {\"targets\": %d, \"seconds_each\": %d, \"inputs\": %d, \"edges\": %d, \"folders\": %d, \"slowest_ms\": %d}}\n", targets, seconds, inputs, edges, folders, slowest }
'

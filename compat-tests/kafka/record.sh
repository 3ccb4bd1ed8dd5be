#!/usr/bin/env bash
# The long job `kafka-record`: records Apache Kafka's answers to the differential test's requests.
#
#   record.sh DIFFERENTIAL_BINARY [PORT]
#
# Records into compat-tests/differential/recorded.json, then replays against the same broker: a scenario whose answers are not
# the same twice would be a false alarm against weir later.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=${1:?the differential binary}
port=${2:-19192}
data=$(mktemp -d "${TMPDIR:-/tmp}/kafka-record.XXXXXX")
trap '"$here/run.sh" stop "$data"; rm -rf "$data"' EXIT
# Without the delay every first join of a group would take 3 s; the answers are the same.
start() { "$here/run.sh" start "$port" "$data" -o group.initial.rebalance.delay.ms=0 >/dev/null; }

start
"$binary" prepare --bootstrap "127.0.0.1:$port"
"$here/run.sh" stop "$data" # a restart raises the leader epochs
start
"$binary" record --bootstrap "127.0.0.1:$port"
"$binary" replay --bootstrap "127.0.0.1:$port" --itself yes

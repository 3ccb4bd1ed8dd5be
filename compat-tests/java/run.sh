#!/usr/bin/env bash
# Builds (once per change) and runs the Java client suite.
#
#   run.sh --bootstrap 127.0.0.1:9092 [--data FLIGHTS.jsonl] [--rows N] [--broker weir|kafka] [--only CHECK]
#   run.sh build
#
# Prints one JSON line per check and a summary line; exits non-zero when a check failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/java
# shellcheck source=../maven.sh
source "$here/../maven.sh"

build
[[ ${1:-} == build ]] && exit 0
# SerialGC and C1 only: the suite shares two cores with the broker that it tests.
exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$cache/classes:$cache/lib/*" dev.weir.compat.Main "$@"

#!/usr/bin/env bash
# Builds (once per change) and runs PaimonApp.java, which takes commands on standard input.
#
#   run.sh build
#   run.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/paimon-java
# shellcheck source=../../maven.sh
source "$here/../../maven.sh"

build
[[ ${1:-} == build ]] && exit 0
# Paimon's rows are in memory outside of the heap; SerialGC and C1 since it shares two cores with the broker.
exec java -Xmx500m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 --add-opens=java.base/java.nio=ALL-UNNAMED \
  --add-opens=java.base/java.lang=ALL-UNNAMED -cp "$cache/classes:$cache/lib/*" dev.weir.paimon.PaimonApp

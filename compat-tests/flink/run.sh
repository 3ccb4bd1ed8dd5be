#!/usr/bin/env bash
# Builds (once per change) and runs the Flink job of FlinkApp.java.
#
#   run.sh build
#   run.sh BOOTSTRAP CHECKPOINT_DIR [CHECKPOINT]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/flink
# shellcheck source=../maven.sh
source "$here/../maven.sh"

build
[[ ${1:-} == build ]] && exit 0
# Flink looks into classes of the JDK; SerialGC and C1 since it shares two cores with the broker.
exec java -Xmx700m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 --add-opens=java.base/java.util=ALL-UNNAMED \
  --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.time=ALL-UNNAMED -cp "$cache/classes:$cache/lib/*" \
  "-Dlog4j2.configurationFile=file:$here/../ecosystem/log4j2.properties" dev.weir.flink.FlinkApp "$@"

#!/usr/bin/env bash
# Builds (once per change) and runs FlinkReader.java, which takes queries on standard input.
#
#   run.sh build        prints the folder of Spark's jar for Iceberg
#   run.sh WAREHOUSE
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/flink-reader
# shellcheck source=../../maven.sh
source "$here/../../maven.sh"

build
if [[ ${1:-} == build ]]; then
  echo "$cache/classes/spark"
  exit 0
fi
# Flink looks into classes of the JDK.
exec java -Xmx1g -XX:+UseSerialGC --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED \
  --add-opens=java.base/java.time=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED \
  -cp "$cache/classes:$cache/lib/*" dev.weir.lake.FlinkReader "$@"

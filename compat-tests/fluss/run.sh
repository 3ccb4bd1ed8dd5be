#!/usr/bin/env bash
# Apache Fluss as a baseline: starts ZooKeeper, a coordinator and a tablet server in a temporary folder, writes a log table of 20 columns
# and reads 20, 10, 5 and 1 of them. Prints JSON lines for each reader (first pass, best pass, warm passes) and a table of medians.
#
#   run.sh build
#   run.sh [--rows 200000] [--rounds 3] [--seconds 20] [--server-cpu 0] [--reader-cpu 1] [--client KEY=VALUE]...
#
# --seconds: how long a reader goes on reading the table again after its first pass, so that its JVM warms up: the later half of those
#   passes count as warm.
# --client: a setting of Fluss's client, for instance client.scanner.log.max-poll-records=5000. All are left at their defaults but for
#   client.scanner.log.fetch.wait-max-time, 10ms here instead of 500ms; see Client.java.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/fluss
# shellcheck source=../maven.sh
source "$here/../maven.sh"

build
[[ ${1:-} == build ]] && exit 0
# It only starts the others and waits for them.
exec java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$cache/classes" "-Dweir.cache=$cache" "-Dweir.here=$here" \
  dev.weir.fluss.Bench "$@"

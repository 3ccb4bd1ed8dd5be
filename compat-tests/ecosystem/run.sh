#!/usr/bin/env bash
# Builds (once per change) and runs what is built on Kafka's clients: Streams, Connect, MirrorMaker 2.
#
#   run.sh build
#   run.sh streams BOOTSTRAP STATE_DIR         the application of StreamsApp.java
#   run.sh history BOOTSTRAP NAME PARTITIONS FIRST_NUMBER SEED
#   run.sh share BOOTSTRAP TOPIC GROUP SEED    a member of a share group, which tells what it does
#   run.sh connect-standalone WORKER.properties CONNECTOR.properties...
#   run.sh connect-distributed WORKER.properties
#   run.sh mirror-maker MM2.properties
#
# The process is replaced by java, so a signal to it reaches what runs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/ecosystem
# shellcheck source=../maven.sh
source "$here/../maven.sh"

build
command=${1:-}
shift || true
case $command in
  build) exit 0 ;;
  streams) class=dev.weir.ecosystem.StreamsApp ;;
  history) class=dev.weir.ecosystem.HistoryClient ;;
  share) class=dev.weir.ecosystem.ShareClient ;;
  connect-standalone) class=org.apache.kafka.connect.cli.ConnectStandalone ;;
  connect-distributed) class=org.apache.kafka.connect.cli.ConnectDistributed ;;
  mirror-maker) class=org.apache.kafka.connect.mirror.MirrorMaker ;;
  *)
    sed -n '4,10s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
# SerialGC and C1 only: they share two cores with the broker.
exec java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -cp "$cache/classes:$cache/lib/*" \
  "-Dlog4j2.configurationFile=file:$here/log4j2.properties" "$class" "$@"

#!/usr/bin/env bash
# A single-node Apache Kafka (KRaft, broker and controller in one JVM) from Maven artifacts: the reference that weir is compared with.
#
#   run.sh start PORT DATA_DIR [-o key=value]...   formats DATA_DIR if it is new, waits until it serves, prints the pid
#   run.sh stop DATA_DIR                           graceful stop (SIGTERM, SIGKILL after 30 s)
#   run.sh install                                 only fetches the jars
#
# Kafka's own JVM flags are kept, with a heap of 1 GiB; KAFKA_PREFIX runs in front of java (e.g. "taskset -c 0"), KAFKA_HEAP_OPTS
# replaces the heap flags. The log is DATA_DIR/kafka.log, the properties are DATA_DIR/server.properties.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() { sed -n '4,6s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
alive() { kill -0 "$1" 2>/dev/null && [[ $(awk '{print $3}' "/proc/$1/stat" 2>/dev/null) != Z ]]; }

start() {
  [[ $# -ge 2 && $1 =~ ^[0-9]+$ ]] || usage
  local port=$1 dir=$2
  shift 2
  local extra=()
  while [[ $# -gt 0 ]]; do
    [[ $1 == -o && $# -ge 2 && $2 == *=* ]] || usage
    extra+=("$2")
    shift 2
  done
  if is_open "$port"; then
    echo "run.sh: port $port is already in use" >&2
    exit 1
  fi
  local libs
  libs=$("$here/install.sh")
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  local controller=$((port < 45000 ? port + 10000 : port - 10000))
  while is_open "$controller"; do controller=$((controller + 1)); done
  {
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.quorum.voters=1@127.0.0.1:$controller
log.dirs=$dir/logs
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
PROPERTIES
    for pair in ${extra[@]+"${extra[@]}"}; do echo "$pair"; done
  } >"$dir/server.properties"

  local common=(-cp "$libs/*" "-Dlog4j2.configurationFile=file:$here/log4j2.properties")
  if [[ ! -f $dir/logs/meta.properties ]]; then
    java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "${common[@]}" kafka.tools.StorageTool format \
      --cluster-id WeirBaselineKafka00000 --config "$dir/server.properties" >"$dir/format.log" 2>&1 || {
      cat "$dir/format.log" >&2
      exit 1
    }
  fi
  # The words in KAFKA_PREFIX and KAFKA_HEAP_OPTS are meant to split.
  # shellcheck disable=SC2086
  setsid nohup ${KAFKA_PREFIX:-} java ${KAFKA_HEAP_OPTS:--Xms1g -Xmx1g} -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
    -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true \
    "${common[@]}" kafka.Kafka "$dir/server.properties" >"$dir/kafka.log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid" >"$dir/kafka.pid"
  local waited=0
  until grep -q 'Kafka Server started' "$dir/kafka.log" && is_open "$port"; do
    if ! alive "$pid" || ((waited >= 600)); then
      tail -n 40 "$dir/kafka.log" >&2
      echo "run.sh: Kafka did not start (log: $dir/kafka.log)" >&2
      kill -9 "$pid" 2>/dev/null || true
      exit 1
    fi
    sleep 0.1
    waited=$((waited + 1))
  done
  echo "$pid"
}

stop() {
  [[ $# -eq 1 ]] || usage
  local pid_file=$1/kafka.pid pid waited=0
  [[ -f $pid_file ]] || return 0
  pid=$(<"$pid_file")
  # A pid may have been given to another process since: only a process with our properties file is ours.
  if alive "$pid" && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q 'kafka.Kafka'; then
    kill "$pid"
    while alive "$pid" && ((waited < 300)); do
      sleep 0.1
      waited=$((waited + 1))
    done
    if alive "$pid"; then kill -9 "$pid"; fi
  fi
  rm -f "$pid_file"
}

command=${1:-}
shift || true
case $command in
  start) start "$@" ;;
  stop) stop "$@" ;;
  install) "$here/install.sh" ;;
  *) usage ;;
esac

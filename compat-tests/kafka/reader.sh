#!/usr/bin/env bash
# Compiles (once per change) and runs JacksonReader.java, a consumer with Kafka's own client.
#
#   reader.sh WISH
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
libs=$("$here/install.sh")
cache=${WEIR_CACHE:-$HOME/.cache/weir}/kafka/reader
exec 9>"$cache.lock"
flock 9
stamp=$(cksum <"$here/reader/JacksonReader.java")
if [[ $(cat "$cache/.complete" 2>/dev/null) != "$stamp" ]]; then
  rm -rf "$cache"
  mkdir -p "$cache"
  javac -cp "$libs/*" -d "$cache" "$here/reader/JacksonReader.java"
  echo "$stamp" >"$cache/.complete"
fi
exec 9>&-
# A heap as containers of such consumers have it.
exec java -Xmx256m -cp "$cache:$libs/*" "-Dlog4j2.configurationFile=file:$here/tools-log4j2.properties" JacksonReader "$@"

#!/usr/bin/env bash
# Builds (once per change) and runs PaimonApp.java, which takes commands on standard input.
#
#   run.sh build
#   run.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/paimon-java
mkdir -p "$cache"

build() {
  local stamp
  stamp=$(cd "$here" && find pom.xml src -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  exec 9>"$cache/build.lock"
  flock 9
  if [[ $(cat "$cache/.complete" 2>/dev/null) != "$stamp" ]]; then
    rm -rf "$cache/lib" "$cache/classes"
    mvn -q -B -f "$here/pom.xml" compile dependency:copy-dependencies -DincludeScope=runtime \
      -DoutputDirectory="$cache/lib" >"$cache/build.log" 2>&1 || {
      cat "$cache/build.log" >&2
      exit 1
    }
    cp -r "$here/target/classes" "$cache/classes"
    echo "$stamp" >"$cache/.complete"
  fi
  exec 9>&-
}

build
[[ ${1:-} == build ]] && exit 0
# Paimon's rows are in memory outside of the heap; SerialGC and C1 since it shares two cores with the broker.
exec java -Xmx500m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 --add-opens=java.base/java.nio=ALL-UNNAMED \
  --add-opens=java.base/java.lang=ALL-UNNAMED -cp "$cache/classes:$cache/lib/*" dev.weir.paimon.PaimonApp

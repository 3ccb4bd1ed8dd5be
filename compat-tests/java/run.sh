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
# SerialGC and C1 only: the suite shares two cores with the broker that it tests.
exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$cache/classes:$cache/lib/*" dev.weir.compat.Main "$@"

#!/usr/bin/env bash
# Fetches Apache Kafka (the version in pom.xml) and its dependencies from Maven Central, once, and prints the folder of jars.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/.*<kafka.version>\(.*\)<\/kafka.version>.*/\1/p' "$here/pom.xml")
cache=${WEIR_CACHE:-$HOME/.cache/weir}/kafka
libs=$cache/libs
mkdir -p "$cache"
exec 9>"$cache/install.lock"
flock 9
# The stamp is written last, and names the pom it was made from: a broken or outdated download is never used.
stamp="$version $(cksum <"$here/pom.xml")"
if [[ $(cat "$libs/.complete" 2>/dev/null) != "$stamp" ]]; then
  rm -rf "$libs"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs" >"$cache/install.log" 2>&1 || {
    cat "$cache/install.log" >&2
    echo "install.sh: could not fetch Apache Kafka $version from Maven Central (log: $cache/install.log)" >&2
    exit 1
  }
  echo "$stamp" >"$libs/.complete"
fi
echo "$libs"

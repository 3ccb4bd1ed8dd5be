#!/usr/bin/env bash
# Gathers (once per change) the jars of Iceberg's REST catalog server and runs it, set up by variables: REST_PORT of the
# catalog's properties is CATALOG_REST_PORT, and so on.
#
#   run.sh build
#   run.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/rest-catalog
mkdir -p "$cache"
exec 9>"$cache/build.lock"
flock 9
stamp=$(cksum <"$here/pom.xml")
# The stamp is written last: an interrupted or outdated installation is made anew.
if [[ $(cat "$cache/.complete" 2>/dev/null) != "$stamp" ]]; then
  rm -rf "$cache/lib"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$cache/lib" \
    >"$cache/build.log" 2>&1 || {
    cat "$cache/build.log" >&2
    exit 1
  }
  echo "$stamp" >"$cache/.complete"
fi
exec 9>&-
[[ ${1:-} == build ]] && exit 0
# SerialGC and C1 since it shares two cores with the broker.
exec java -Xmx300m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$cache/lib/*" \
  org.apache.iceberg.rest.RESTCatalogServer

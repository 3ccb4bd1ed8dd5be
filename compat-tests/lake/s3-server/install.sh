#!/usr/bin/env bash
# Builds the S3 server that the tests start, versitygw, exactly as go.sum pins it, into the shared cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}/s3-server
mkdir -p "$cache"
exec 9>"$cache.lock"
flock 9
# The stamp is written last: an interrupted or outdated build is made anew.
stamp="$(go version) $(cksum <"$here/go.sum")"
if [[ $(cat "$cache/.complete" 2>/dev/null) != "$stamp" || ! -x $cache/versitygw ]]; then
  cd "$here"
  GOFLAGS=-mod=readonly go build -trimpath -ldflags=-s -o "$cache/versitygw" github.com/versity/versitygw/cmd/versitygw
  echo "$stamp" >"$cache/.complete"
fi
echo "$cache/versitygw"

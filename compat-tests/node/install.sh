#!/usr/bin/env bash
# Installs the Node clients, and the Node that runs them, exactly as package-lock.json pins them, into the shared cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}
folder=$cache/node
mkdir -p "$folder"
exec 9>"$cache/node.lock"
flock 9
# The stamp is written last: an interrupted or outdated installation is made anew.
stamp=$(cat "$here/package.json" "$here/package-lock.json" | cksum)
if [[ $(cat "$folder/.complete" 2>/dev/null) != "$stamp" ]]; then
  rm -rf "$folder/node_modules" "$folder/.complete"
  cp "$here/package.json" "$here/package-lock.json" "$folder/"
  # The engine check would look at the npm's own Node; the suites run on the one that is installed here.
  npm ci --prefix "$folder" --no-audit --no-fund --loglevel=error
  echo "$stamp" >"$folder/.complete"
fi
echo "$folder"

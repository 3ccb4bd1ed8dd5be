#!/usr/bin/env bash
# Installs the lake readers, exactly as requirements.lock pins them, into a virtual environment of the shared cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}
venv=$cache/lake
mkdir -p "$cache"
exec 9>"$cache/lake.lock"
flock 9
# The stamp is written last: an interrupted or outdated installation is made anew.
stamp="$(python3 --version) $(cksum <"$here/requirements.lock")"
if [[ $(cat "$venv/.complete" 2>/dev/null) != "$stamp" || ! -x $venv/bin/python ]]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --no-deps -r "$here/requirements.lock"
  echo "$stamp" >"$venv/.complete"
fi
echo "$venv"

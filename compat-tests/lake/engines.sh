#!/usr/bin/env bash
# Installs ClickHouse (chdb), Spark and Flink with what they need to read lake tables, once, and runs engines.py with the words given.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readers=$(bash "$here/install.sh")
jars=$(bash "$here/flink-reader/run.sh" build)
data=$("$(bash "$here/../python/install.sh")/bin/python" "$here/../data/extract.py")
cache=${WEIR_CACHE:-$HOME/.cache/weir}
venv=$cache/lake-engines
exec 9>"$cache/lake-engines.lock"
flock 9
# The stamp is written last: an interrupted or outdated installation is made anew.
stamp="$(python3 --version) $(cksum <"$here/engines.lock")"
if [[ $(cat "$venv/.complete" 2>/dev/null) != "$stamp" || ! -x $venv/bin/python ]]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  # Spark comes as source, and is built by these.
  "$venv/bin/python" -m pip install --quiet --no-deps $(grep -E '^(setuptools|wheel)==' "$here/engines.lock")
  "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation -r "$here/engines.lock"
  # The other readers' packages are found too, after its own.
  echo "$readers"/lib/python3*/site-packages >"$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')/readers.pth"
  echo "$stamp" >"$venv/.complete"
fi
exec 9>&-
exec "$venv/bin/python" "$here/engines.py" --jars "$jars" --data "$data" "$@"

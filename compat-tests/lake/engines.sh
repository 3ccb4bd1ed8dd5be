#!/usr/bin/env bash
# Installs ClickHouse (chdb), Spark and Flink with what they need to read lake tables, once, and runs engines.py with the words given.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../venv.sh"
readers=$(bash "$here/install.sh")
jars=$(bash "$here/flink-reader/run.sh" build)
data=$("$(bash "$here/../python/install.sh")/bin/python" "$here/../data/extract.py")

fill() {
  local python=$1/bin/python
  # Spark comes as source, and is built by these.
  "$python" -m pip install --quiet --no-deps $(grep -E '^(setuptools|wheel)==' "$2") &&
    "$python" -m pip install --quiet --no-deps --no-build-isolation -r "$2" &&
    # The other readers' packages are found too, after its own.
    echo "$readers"/lib/python3*/site-packages >"$("$python" -c 'import site; print(site.getsitepackages()[0])')/readers.pth"
}

venv=$(venv lake-engines "$here/engines.lock" fill)
exec "$venv/bin/python" "$here/engines.py" --jars "$jars" --data "$data" "$@"

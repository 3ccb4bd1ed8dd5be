#!/usr/bin/env bash
# Installs client/python into the virtual environment of the Python clients: as `pip install ./client/python` does, but in the
# build profile of the tests, and with the maturin that requirements.lock pins instead of a fresh one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEIR_CACHE:-$HOME/.cache/weir}
venv=$cache/python
exec 9>"$cache/python.lock"
flock 9
export PATH="$venv/bin:$PATH" MATURIN_PEP517_ARGS="--profile dev"
"$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --force-reinstall "$here/../../client/python"
"$venv/bin/python" -c 'import weir; print("weir", weir.__version__)'

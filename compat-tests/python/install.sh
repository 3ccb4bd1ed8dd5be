#!/usr/bin/env bash
# Installs the Python clients, exactly as requirements.lock pins them, into a virtual environment of the shared cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../venv.sh"
venv python "$here/requirements.lock"

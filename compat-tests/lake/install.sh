#!/usr/bin/env bash
# Installs the lake readers, exactly as requirements.lock pins them, into a virtual environment of the shared cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../venv.sh"
venv lake "$here/requirements.lock"

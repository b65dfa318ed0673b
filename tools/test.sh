#!/usr/bin/env bash
# Installs mpidl with what its tests need into .venv and runs them; arguments go to pytest. --full adds the long ones.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"
cd "$ROOT"

setup_venv plot,test
exec "$VENV/bin/python" -m pytest "$@"

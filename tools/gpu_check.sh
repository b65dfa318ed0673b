#!/usr/bin/env bash
# Runs every check that needs a GPU, of any maker, and prints a table of them; arguments go to pytest (--full adds long ones).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"
cd "$ROOT"

# Of NVIDIA, AMD and Intel.
if ! compgen -G '/dev/nvidia[0-9]*' >/dev/null && ! compgen -G '/dev/kfd' >/dev/null && ! compgen -G '/dev/dri/renderD*' >/dev/null; then
    echo "There is no GPU on this machine, so there is nothing to check."
    exit 0
fi
setup_venv plot,test
"$VENV/bin/python" -c '
import torch

from mpidl.comm.start.device import why_none
from mpidl.launch.machine import gpus

found = list(gpus())
if not found:
    raise SystemExit(f"There may be a GPU here, but {why_none()} (torch {torch.__version__}).")
print(f"torch {torch.__version__}", *found, sep="\n")'

report="$(mktemp)"
trap 'rm -f "$report"' EXIT
status=0
"$VENV/bin/python" -m pytest -m gpu -q -p no:cacheprovider --junitxml="$report" "$@" || status=$?
# A mistyped option leaves no report.
[ ! -s "$report" ] || "$VENV/bin/python" tools/gpu_table.py "$report"
exit "$status"

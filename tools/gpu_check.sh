#!/usr/bin/env bash
# Runs every check that needs a CUDA device and prints a table of them; arguments go to pytest (--full adds long ones).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"
cd "$ROOT"

if ! compgen -G '/dev/nvidia[0-9]*' >/dev/null && ! command -v nvidia-smi >/dev/null; then
    echo "There is no NVIDIA GPU on this machine, so there is nothing to check."
    exit 0
fi
setup_venv plot,test
"$VENV/bin/python" -c '
import torch

if not torch.cuda.is_available():
    build = "torch was installed without CUDA" if torch.version.cuda is None else "torch cannot use it"
    raise SystemExit(f"There is a GPU here, but {build} (torch {torch.__version__}).")
for number in range(torch.cuda.device_count()):
    print(f"cuda:{number}: {torch.cuda.get_device_name(number)}, torch {torch.__version__}")'

report="$(mktemp)"
trap 'rm -f "$report"' EXIT
status=0
"$VENV/bin/python" -m pytest -m gpu -q -p no:cacheprovider --junitxml="$report" "$@" || status=$?
# A mistyped option leaves no report.
[ ! -s "$report" ] || "$VENV/bin/python" tools/gpu_table.py "$report"
exit "$status"

#!/usr/bin/env bash
# From nothing to a result: installs mpidl into .venv, trains the same network decentralized and centralized, compares.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"
cd "$ROOT"

setup_venv plot
MPIDL="$VENV/bin/mpidl"

cores="$(nproc)"
ranks=$((cores < 4 ? cores : 4))
for run in quickstart-dsgd quickstart-csgd; do
    say "$run: 8 agents on $ranks ranks"
    "$MPIDL" run "configs/$run.yaml" -n "$ranks" -o "runs/$run.h5" --overwrite
done

say "decentralized against centralized"
"$MPIDL" compare runs/quickstart-dsgd.h5 runs/quickstart-csgd.h5
"$MPIDL" plot runs/quickstart-dsgd.h5 runs/quickstart-csgd.h5 -o runs/quickstart.png
say "results"
printf '%s\n' "$ROOT/runs/quickstart-dsgd.h5" "$ROOT/runs/quickstart-csgd.h5" "$ROOT/runs/quickstart.png"

#!/usr/bin/env bash
# From nothing to a result: installs mpidl into .venv, trains one network by five methods, three times each, compares.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"
cd "$ROOT"

setup_venv plot
MPIDL="$VENV/bin/mpidl"

cores="$(nproc)"
ranks=$((cores < 4 ? cores : 4))
methods=(csgd dsgd qsaddle qsaddle-compressed feddyn)
runs=()
for method in "${methods[@]}"; do
    say "$method: 16 agents on $ranks ranks, with three seeds"
    "$MPIDL" sweep "configs/quickstart-$method.yaml" -n "$ranks" -s seed=1:3 -o "runs/quickstart/$method"
    runs+=(runs/quickstart/"$method"/*.h5)
done

say "accuracy against rounds and bytes: lines are means of three seeds"
"$MPIDL" compare "${runs[@]}"
"$MPIDL" plot "${runs[@]}" -m test_accuracy -x round -x bytes -o runs/quickstart.png
say "results"
printf '%s\n' "$ROOT/runs/quickstart" "$ROOT/runs/quickstart.png"

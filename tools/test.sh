#!/usr/bin/env bash
# Installs mpidl with what its tests need into .venv, has ruff and mypy look at the source, and runs the tests, those
# that start ranks under a second MPI, too.
# Arguments go to pytest. --full adds the long tests, and runs under the second MPI all that start ranks.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"
cd "$ROOT"

extras=plot,test,lint
case " $* " in *" --full "*) extras+=,fuzz ;; esac
setup_venv "$extras"

say "style and types of the source"
"$VENV/bin/ruff" format --check || fail "files are formatted otherwise than ruff does it; run: .venv/bin/ruff format"
"$VENV/bin/ruff" check || fail "ruff does not pass; what it can mend, it does by: .venv/bin/ruff check --fix"
"$VENV/bin/mypy" || fail "mypy does not pass"

setup_mpich

# What pytest returns where tests failed, and where none were selected.
FAILED=1 NONE=5

code=0
"$VENV/bin/python" -m pytest "$@" || code=$?
if [ "$code" -gt "$FAILED" ] && [ "$code" -ne "$NONE" ]; then
    exit "$code"
fi

say "tests that start ranks, under MPICH"
second=0
"$MPICH_VENV/bin/python" -m pytest --second-mpi -o cache_dir=.pytest_cache/mpich "$@" || second=$?
if [ "$second" -ne "$NONE" ]; then
    code=$((code == 0 || code == NONE ? second : code))
fi
exit "$code"

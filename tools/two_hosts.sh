#!/usr/bin/env bash
# Two hosts, a and b, on this machine: each has a network, a name, processes, /tmp and /dev/shm of its own, and an sshd;
# a cable, which can be slow, joins them. All other folders they share, as hosts of a cluster do. Needs root.
#
#   apt-get install openssh-server iproute2              # Debian, Ubuntu: what it needs
#   eval "$(bash tools/two_hosts.sh start --rate 1gbit --delay 20ms)"      # both ways; prints what launchers must know
#   bash tools/two_hosts.sh run a mpirun --host a:2,b:2 hostname           # in the current folder; so do mpiexec, ssh b
#   bash tools/two_hosts.sh cut b                        # nothing passes through b's end of the cable; mend b
#   bash tools/two_hosts.sh kill b                       # as if its power failed, which nobody is told
#   bash tools/two_hosts.sh down b                       # its processes end, and their connections close
#   bash tools/two_hosts.sh stop                         # ends all that runs on them, and removes its folder
#
# Of this machine's /tmp they see the current folder and this project's, and what is named by --share FOLDER. All that is
# written lies in one folder, MPIDL_HOSTS or /tmp/mpidl-hosts; with another one there can be two more hosts.
set -euo pipefail

folder="${MPIDL_HOSTS:-/tmp/mpidl-hosts}"
project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PATH="$PATH:/usr/sbin:/sbin"
HOSTS="a b"
# How long a host may take to start, in seconds, on a machine that is busy.
PATIENCE=30

fail() {
    printf 'mpidl: %s\n' "$*" >&2
    exit 2
}

usage() {
    fail "usage: bash $0 start [--rate 1gbit] [--delay 20ms] [--share FOLDER]… | run HOST COMMAND… | cut HOST |" \
        "mend HOST | kill HOST | down HOST | stop"
}

address() {
    case "$1" in
    a) echo 10.77.0.1 ;;
    b) echo 10.77.0.2 ;;
    esac
}

# The first process of a host, all of whose others end with it.
process() {
    cat "$folder/$1/process"
}

running() {
    case " $HOSTS " in *" ${1:-} "*) ;; *) fail "${1:-nothing} is not a host; there are $HOSTS" ;; esac
    [ -s "$folder/$1/process" ] || fail "host $1 does not run; run: bash $0 stop, and start"
}

# on_network HOST COMMAND…: in the network of a host, with this machine's files.
on_network() {
    local host="$1"
    shift
    nsenter --target "$(process "$host")" --net -- "$@"
}

write_keys() {
    local host
    ssh-keygen -q -t ed25519 -N '' -C mpidl -f "$folder/key"
    cp "$folder/key.pub" "$folder/authorized_keys"
    printf '127.0.0.1 localhost\n' >"$folder/names"
    for host in $HOSTS; do
        ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$folder/$host/key"
        printf '%s %s\n' "$(address "$host")" "$host" >>"$folder/names"
        printf '%s,%s %s\n' "$host" "$(address "$host")" "$(cat "$folder/$host/key.pub")" >>"$folder/known_hosts"
        cat >"$folder/$host/sshd" <<END
HostKey $folder/$host/key
AuthorizedKeysFile $folder/authorized_keys
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
END
    done
    cat >"$folder/ssh" <<END
#!/bin/sh
exec ssh -F none -i "$folder/key" -o UserKnownHostsFile="$folder/known_hosts" -o GlobalKnownHostsFile=/dev/null \\
    -o BatchMode=yes -o LogLevel=ERROR -o ConnectTimeout=10 "\$@"
END
    chmod 755 "$folder/ssh"
}

# boot HOST SHARED…: what the first process of a host does.
boot() {
    local host="$1" shared
    shift
    mount -t tmpfs none /dev/shm
    mount -t tmpfs -o mode=755 none /run
    mkdir /run/sshd
    mount --bind "$folder/names" /etc/hosts
    hostname "$host"
    for shared in "$@"; do
        mkdir -p "$folder/$host/tmp/${shared#/tmp/}"
        mount --bind "$shared" "$folder/$host/tmp/${shared#/tmp/}"
    done
    mount --rbind "$folder/$host/tmp" /tmp
    "$(PATH="$PATH:/usr/sbin" command -v sshd)" -D -e -f "$folder/$host/sshd"
}

# join RATE DELAY: the cable between the hosts.
join() {
    local host
    if [ -n "$2" ]; then
        # Not every kernel has netem.
        coproc CABLE { exec python3 "$project/tools/two_hosts_cable.py" "$(process a)" "$(process b)" "$2" eth0; }
        echo "$CABLE_PID" >"$folder/cable"
        read -r <&"${CABLE[0]}" || return 1
    else
        ip link add name eth0 netns "$(process a)" type veth peer name eth0 netns "$(process b)"
    fi
    for host in $HOSTS; do
        on_network "$host" ip link set lo up
        on_network "$host" ip address add "$(address "$host")/24" dev eth0
        [ -z "$2" ] || on_network "$host" ip link set eth0 mtu 65000
        on_network "$host" ip link set eth0 up
        # In one burst goes what a segment for a network card has; the queue is long enough for all that is under way.
        [ -z "$1" ] || on_network "$host" tc qdisc add dev eth0 root tbf rate "$1" burst 128kb limit 100mb
    done
}

# seconds DURATION: of 20ms or 0.02s; nothing where it is not one.
seconds() {
    [[ "$1" =~ ^([0-9.]+)(ms|s)$ ]] || return 1
    if [ "${BASH_REMATCH[2]}" = ms ]; then
        echo "${BASH_REMATCH[1]}e-3"
    else
        echo "${BASH_REMATCH[1]}"
    fi
}

# Waits until each host reaches the other.
reach() {
    local host other until
    for host in $HOSTS; do
        other="$([ "$host" = a ] && echo b || echo a)"
        until="$((SECONDS + PATIENCE))"
        until nsenter --target "$(process "$host")" --all -- "$folder/ssh" "$other" true 2>"$folder/answer"; do
            [ "$SECONDS" -lt "$until" ] || return 1
            sleep 0.1
        done
    done
}

start() {
    local host until program rate="" delay="" shared=()
    while [ "$#" -gt 0 ]; do
        [ "$#" -gt 1 ] || usage
        case "$1" in
        --rate) rate="$2" ;;
        --delay) delay="$(seconds "$2")" || fail "--delay: $2 is not a time, as 20ms is" ;;
        --share) shared+=("$(cd "$2" 2>/dev/null && pwd -P)") || fail "--share: there is no folder $2" ;;
        *) usage ;;
        esac
        shift 2
    done
    for program in ip tc unshare nsenter pgrep python3 sshd ssh ssh-keygen; do
        command -v "$program" >/dev/null ||
            fail "there is no $program; on Debian or Ubuntu: apt-get install openssh-server iproute2"
    done
    [ ! -e "$folder" ] || fail "$folder is there already; run: bash $0 stop"
    mkdir -p "$folder"
    chmod 755 "$folder"
    for host in $HOSTS; do
        mkdir -p "$folder/$host/tmp"
        chmod 1777 "$folder/$host/tmp"
    done
    write_keys
    # What lies in /tmp is hidden by the hosts' own, unless it is shared.
    shared+=("$folder" "$project" "$(pwd -P)")
    for host in "${!shared[@]}"; do
        case "${shared[$host]}" in /tmp/*) ;; *) unset "shared[$host]" ;; esac
    done
    for host in $HOSTS; do
        MPIDL_HOSTS="$folder" setsid unshare --net --uts --ipc --mount --pid --fork --mount-proc --kill-child \
            bash "$0" boot "$host" "${shared[@]}" </dev/null >"$folder/$host/log" 2>&1 &
        echo "$!" >"$folder/$host/parent"
        disown
        until="$((SECONDS + PATIENCE))"
        until pgrep --parent "$(cat "$folder/$host/parent")" >"$folder/$host/process"; do
            [ "$SECONDS" -lt "$until" ] && kill -0 "$(cat "$folder/$host/parent")" 2>/dev/null ||
                undo "host $host does not start: $(tail -n 1 "$folder/$host/log")"
            sleep 0.05
        done
    done
    join "$rate" "$delay" >&2 || undo "the hosts cannot be joined"
    reach || undo "the hosts do not reach each other: $(tail -n 1 "$folder/answer")"
    printf 'export MPIDL_HOSTS=%s\n' "$folder"
    # Of Open MPI 5, of Open MPI 4, and of Hydra.
    printf 'export PRTE_MCA_plm_ssh_agent=%s\n' "$folder/ssh"
    printf 'export OMPI_MCA_plm_rsh_agent=%s\n' "$folder/ssh"
    printf 'export HYDRA_LAUNCHER=ssh HYDRA_LAUNCHER_EXEC=%s\n' "$folder/ssh"
}

undo() {
    stop
    fail "$*"
}

# on HOST COMMAND…: the command ends when this script does.
on() {
    local host="$1"
    shift
    exec nsenter --target "$(process "$host")" --all --wd="$PWD" -- setpriv --pdeathsig TERM -- "$@"
}

end() {
    local host
    for host in "$@"; do
        [ ! -s "$folder/$host/process" ] || kill -KILL "$(cat "$folder/$host/process")" 2>/dev/null || true
        [ ! -s "$folder/$host/parent" ] || kill -KILL "$(cat "$folder/$host/parent")" 2>/dev/null || true
        rm -f "$folder/$host/process" "$folder/$host/parent"
    done
}

stop() {
    [ -e "$folder" ] || return 0
    end a b
    [ ! -s "$folder/cable" ] || kill "$(cat "$folder/cable")" 2>/dev/null || true
    rm -rf "$folder"
}

[ "$(id -u)" -eq 0 ] || fail "two hosts of one's own need root, which makes their networks"
command="${1:-}"
[ "$#" -eq 0 ] || shift
case "$command" in
boot) boot "$@" ;;
start) start "$@" ;;
stop) stop ;;
run)
    running "${1:-}"
    [ "$#" -gt 1 ] || usage
    on "$@"
    ;;
cut)
    running "${1:-}"
    on_network "$1" ip link set eth0 down
    ;;
mend)
    running "${1:-}"
    on_network "$1" ip link set eth0 up
    reach || fail "the hosts do not reach each other: $(tail -n 1 "$folder/answer")"
    ;;
kill)
    running "${1:-}"
    # First the cable, so that nobody hears of its end.
    on_network "$1" ip link delete eth0
    end "$1"
    ;;
down)
    running "${1:-}"
    end "$1"
    ;;
*) usage ;;
esac

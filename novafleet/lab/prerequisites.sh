#!/bin/sh
# What NovaFleet needs from the system before any Python of it can run.
#
#   prerequisites.sh                install the system packages that are missing (root), or print the commands (exit 3)
#   prerequisites.sh --engine       make sure a container engine answers, starting one if none does
#   prerequisites.sh --stop-engine  stop the engine that --engine started; never another one
#
# Every mode is idempotent, and instant when there is nothing to do.
set -eu

STATE="${NOVAFLEET_LAB_STATE:-$HOME/.local/state/novafleet/lab}"
ENGINE="$STATE/engine"
ENGINE_DEADLINE="${NOVAFLEET_ENGINE_DEADLINE:-90}"
PYTHON="${PYTHON:-python3}"

say() { printf '%s\n' "$*" >&2; }
die() {
    status=$1
    shift
    say "$*"
    exit "$status"
}
has() { command -v "$1" >/dev/null 2>&1; }
root() { [ "$(id -u)" -eq 0 ]; }

# --- system packages -------------------------------------------------------------------------------------------------

missing=
need() { # PACKAGE WHY PROBE...
    package=$1 why=$2
    shift 2
    if "$@" >/dev/null 2>&1; then return 0; fi
    [ -n "$missing" ] || say "Missing system packages:"
    missing="$missing $package"
    say "$(printf '  %-24s %s' "$package" "$why")"
}

python_headers() { "$PYTHON" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))'; }
python_venv() { "$PYTHON" -c 'import ensurepip, venv'; }
archive_keys() { [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || [ -e /usr/share/keyrings/debian-archive-keyring.pgp ]; }
libvirt_headers() { pkg-config --exists libvirt; }
sshd_binary() { [ -x /usr/sbin/sshd ]; }
nfs_library() { "$PYTHON" -c 'import ctypes; ctypes.CDLL("libnfs.so.14")' || "$PYTHON" -c 'import ctypes; ctypes.CDLL("libnfs.so.13")'; }
nfs_package() { if apt-cache show libnfs14 >/dev/null 2>&1; then echo libnfs14; else echo libnfs13; fi; }

check_packages() {
    need gcc "compiles the libvirt binding" has cc
    need pkg-config "finds libvirt for the libvirt binding" has pkg-config
    need libvirt-dev "headers of libvirt, for the libvirt binding" libvirt_headers
    need python3-dev "headers of Python, for the libvirt binding" python_headers
    need python3-venv "the virtual environment that everything runs in" python_venv
    need openssh-client "ssh and ssh-keygen: host settings are read with 'ssh -G'" has ssh
    need docker.io "the container engine that the lab's hosts run on" has dockerd
    need iptables "networks of the container engine" has iptables
    need debootstrap "builds the lab's base images from the distribution's own packages" has debootstrap
    need debian-archive-keyring "checks the signatures of what debootstrap downloads" archive_keys
    need openssh-server "sshd, run by the transport tests on loopback (no service is started)" sshd_binary
    need fish "a login shell that is no POSIX one, for the transport tests" has fish
    need libvirt-clients "virsh, which tests and benchmarks compare with" has virsh
    need qemu-utils "qemu-img, which tests check images with" has qemu-img
    need genisoimage "isoinfo, which tests read cloud-init seeds with" has isoinfo
    need busybox-static "runs the tiny guest's scripts in tests" has busybox
    need shellcheck "checks the shell scripts" has shellcheck
    if ! nfs_library 2>/dev/null; then need "$(nfs_package)" "reaches nfs:// repositories without a mount" false; fi
}

install_packages() {
    check_packages
    [ -n "$missing" ] || return 0
    keep_sshd_off=
    case "$missing" in *openssh-server*) keep_sshd_off=1 ;; esac
    if ! has apt-get; then die 3 "This is no Debian or Ubuntu: install their equivalents with your package manager."; fi
    if ! root; then
        say "Run this, then try again:"
        [ -z "$keep_sshd_off" ] || say "  sudo mkdir -p /etc/ssh && sudo touch /etc/ssh/sshd_not_to_be_run   # only the binary is wanted"
        die 3 "  sudo apt-get update && sudo apt-get install --no-install-recommends -y$missing"
    fi
    if [ -n "$keep_sshd_off" ]; then
        mkdir -p /etc/ssh
        : >/etc/ssh/sshd_not_to_be_run
        say "sshd stays off (/etc/ssh/sshd_not_to_be_run): only the binary is wanted."
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
    # Where the client is a package of its own, docker.io only recommends it.
    case "$missing" in *docker.io*) if apt-cache show docker-cli >/dev/null 2>&1; then missing="$missing docker-cli"; fi ;; esac
    # shellcheck disable=SC2086  # a list of package names
    apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends -y $missing >&2
    missing=
    check_packages
    [ -z "$missing" ] || die 1 "Still missing after installing:$missing"
}

check_python() {
    if "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then return 0; fi
    die 3 "NovaFleet needs Python 3.11 or newer; '$PYTHON' is not. Set PYTHON=/path/to/python3.11 or install one."
}

# --- the container engine --------------------------------------------------------------------------------------------

engine_answers() { timeout 20 docker info >/dev/null 2>&1; }
has_systemd() { [ -d /run/systemd/system ] && has systemctl; }
started_at() { # PID: the process's start time, so that a reused number is not taken for ours
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}
ours_runs() {
    [ -s "$ENGINE/owned" ] || return 1
    read -r kind pid born <"$ENGINE/owned"
    [ "$kind" = process ] && [ "$(started_at "$pid")" = "$born" ]
}

start_process() {
    # No descriptor of ours may live on in the engine: it would hold the lock for ever.
    setsid dockerd --pidfile "$ENGINE/dockerd.pid" </dev/null >>"$ENGINE/dockerd.log" 2>&1 9>&- &
    launched=$!
    echo "process $launched $(started_at "$launched")" >"$ENGINE/owned.new"
    mv "$ENGINE/owned.new" "$ENGINE/owned"
}

wait_for_engine() {
    deadline=$(($(date +%s) + ENGINE_DEADLINE))
    until engine_answers; do
        if [ -s "$ENGINE/owned" ] && ! ours_runs && ! has_systemd; then
            tail -n 5 "$ENGINE/dockerd.log" >&2
            die 1 "The container engine ended right after its start; its log is $ENGINE/dockerd.log"
        fi
        [ "$(date +%s)" -lt "$deadline" ] || die 1 "The container engine does not answer after $ENGINE_DEADLINE s; see $ENGINE/dockerd.log"
        sleep 0.3
    done
}

ensure_engine() {
    if engine_answers; then return 0; fi
    has docker || die 3 "No container engine is installed: run 'sh $0' first."
    if ! root; then
        say "No container engine answers to this user. Run one of these, then try again:"
        say "  sudo systemctl start docker          # if it is not running"
        die 3 "  sudo usermod -aG docker $(id -un)    # if it is; log in again afterwards"
    fi
    mkdir -p "$ENGINE"
    chmod 700 "$STATE" "$ENGINE"
    exec 9>"$ENGINE/lock"
    flock 9
    if engine_answers; then return 0; fi
    if has_systemd; then
        say "Starting the container engine (systemctl start docker)"
        systemctl start docker 9>&-
        echo "systemd docker -" >"$ENGINE/owned"
    elif ! ours_runs; then
        say "Starting the container engine (dockerd, log in $ENGINE/dockerd.log)"
        start_process
    fi
    wait_for_engine
}

stop_engine() {
    [ -s "$ENGINE/owned" ] || return 0
    read -r kind pid _ <"$ENGINE/owned"
    if [ "$kind" = systemd ]; then
        systemctl stop docker.socket docker.service
    elif ours_runs; then
        kill "$pid"
        while ours_runs; do sleep 0.2; done
    fi
    rm -f "$ENGINE/owned"
    say "Stopped the container engine that the lab had started."
}

case "${1:-}" in
'') check_python && install_packages ;;
--engine) ensure_engine ;;
--stop-engine) stop_engine ;;
*) die 2 "usage: $0 [--engine | --stop-engine]" ;;
esac

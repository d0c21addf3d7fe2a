#!/bin/sh
# Peers that are Debian packages, where root can install them; a row of the page says which are missing.
set -eu

missing=
need() { # PACKAGE PROGRAM
    command -v "$2" >/dev/null 2>&1 || missing="$missing $1"
}
need virtnbdbackup virtnbdbackup
need restic restic
need borgbackup borg
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Not installed, and left out of the benchmarks:$missing" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
for package in $missing; do
    apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends -y "$package" >&2 ||
        echo "$package cannot be installed here: it is left out of the benchmarks" >&2
done

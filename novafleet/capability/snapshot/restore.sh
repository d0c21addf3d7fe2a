# Starts a guest from saved memory, its disks as the definition on standard input says.
# shellcheck shell=sh
# $1 the saved memory
definition=$(mktemp) || exit
trap 'rm -f -- "$definition"' EXIT
cat >"$definition" && virsh -q -c qemu:///system restore "$1" --xml "$definition" --running

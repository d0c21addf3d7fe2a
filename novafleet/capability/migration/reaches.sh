# Does an address answer this host?
# shellcheck shell=sh
# $1 address
exec ping -n -q -c 2 -i 0.2 -W 1 "$1" >/dev/null

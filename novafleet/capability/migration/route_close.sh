# Takes away what a route of a job made here; nothing there is fine. Runs as root.
# shellcheck shell=sh
# $1 folder  $2 unit ("": this host has none)
[ -z "$2" ] || systemctl stop "$2.service" 2>/dev/null
rm -rf -- "$1"

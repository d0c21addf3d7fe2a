# Takes away what a route of a job made here; nothing there is fine. Runs as root.
# shellcheck shell=sh
# $1 folder  $2 unit ("": this host has none)
if [ -n "$2" ]; then
  systemctl stop "$2.service" 2>/dev/null
  systemctl reset-failed "$2.service" 2>/dev/null
fi
rm -rf -- "$1"

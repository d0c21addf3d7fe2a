# Starts the tunnel as a unit that outlives our connection, and waits until it carries. Runs as root.
# shellcheck shell=sh
# $1 unit  $2 folder  $3 owner of the sockets  $4 seconds it may last  $5... ssh's words
unit=$1 folder=$2 owner=$3 lasts=$4
shift 4
systemd-run --quiet --collect --unit="$unit" --property=RuntimeMaxSec="$lasts" --property=UMask=0177 -- \
  ssh -F /dev/null -N -i "$folder/key" -o UserKnownHostsFile="$folder/known_hosts" "$@" || exit 1
tries=0
while [ $tries -lt 600 ]; do
  if [ -S "$folder/lv.sock" ]; then
    chown "$owner" "$folder"/*.sock && exit 0
  fi
  tries=$((tries + 1))
  [ $((tries % 10)) != 0 ] || systemctl is-active --quiet "$unit.service" || break
  sleep 0.025
done
journalctl --quiet --no-pager --output=cat --lines=3 --unit="$unit.service" >&2
systemctl stop "$unit.service" 2>/dev/null
exit 1

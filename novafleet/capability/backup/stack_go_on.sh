# Lets the containers go on that a backup of their stack had paused, and removes what tells of it.
# shellcheck shell=sh
# $1 engine  $2 folder with their ids in "paused"  $3 unit that watches over them
engine=$1 folder=$2 unit=$3
if [ -e "$folder/paused" ]; then
  while read -r id; do "$engine" unpause "$id" >/dev/null 2>&1; done <"$folder/paused"
  left=$("$engine" ps -q --no-trunc --filter status=paused | grep -Fxf "$folder/paused")
  if [ -n "$left" ]; then
    echo "still paused: $left" >&2
    exit 1
  fi
  rm -rf -- "$folder"
fi
# Also when it let them go on itself: it may not have ended yet, and its name is needed again.
systemctl stop "$unit.service" 2>/dev/null
exit 0

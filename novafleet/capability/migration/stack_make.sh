#!/bin/sh
# Makes the volumes of a stack on its destination. $1 make, or look: only see what is in the way
# then: manifest's folder  engine  project  bundle's folder  uuid
# volumes (names, one a line) that an earlier move of this stack left here and that may be written over
# then NAME LABELS of each volume: LABELS are lines KEY=VALUE.
# Out: `there WHAT` for what is in the way, status 93, and nothing was touched; else `volume NAME FOLDER` for each.
set -u
mode=$1
shift
folder=$1 engine=$2 project=$3 root=$4 uuid=$5 left=$6
shift 6
umask 077
manifest=$folder/manifest
note() { printf '%s\n' "$1" >>"$manifest" && sync -- "$manifest"; }
noted() { [ -f "$manifest" ] && grep -qxF -- "$1" "$manifest"; }
place() { "$engine" volume inspect --format '{{.Mountpoint}}' "$1" 2>/dev/null; }
mine() { noted "volume $engine $1" || printf '%s\n' "$left" | grep -qxF -- "$1"; }

found=$("$engine" ps -a --filter "label=com.docker.compose.project=$project" --format 'container {{.Names}}') || exit
if [ -e "$root" ] && ! noted "beside - $root"; then
  found="$found
$root"
fi
names=$#
while [ "$names" -gt 0 ]; do
  at=$(place "$1") && ! mine "$1" && [ -n "$(ls -A "$at")" ] && found="$found
volume $1"
  set -- "$@" "$1" "$2"
  shift 2
  names=$((names - 2))
done
if [ -n "$found" ]; then
  printf '%s\n' "$found" | sed '/^$/d; s/^/there /'
  exit 93
fi
[ "$mode" = make ] || exit 0
mkdir -p -- "$folder" || exit
[ -f "$manifest" ] || note "job $uuid stack.$project" || exit
noted "beside - $root" || note "beside - $root" || exit

made() {
  name=$1 labels=$2
  note "volume $engine $name" || return
  set --
  while IFS= read -r line; do
    [ -z "$line" ] || set -- "$@" --label "$line"
  done <<END
$labels
END
  "$engine" volume create "$@" "$name" >/dev/null
}

while [ $# -gt 1 ]; do
  at=$(place "$1") || { made "$1" "$2" && at=$(place "$1"); } || exit
  echo "volume $1 $at"
  shift 2
done

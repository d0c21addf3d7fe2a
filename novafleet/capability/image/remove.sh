#!/bin/sh
# Removes the cached image $1 and all that began to become it, unless a qcow2 file in one of the directories $2 …
# backs on it: its header, in the first KiB, holds the path.
set -u
image=$1
shift
for directory in "$@"; do
  for volume in "$directory"/*; do
    case $volume in "$image"*) continue ;; esac
    [ -f "$volume" ] || continue
    if head -c 1024 -- "$volume" | grep -aqF -e "$image"; then
      echo "used $volume"
      exit 0
    fi
  done
done
rm -f -- "$image" "$image".* "$(dirname -- "$image")/.$(basename -- "$image")"*

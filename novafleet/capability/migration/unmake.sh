#!/bin/sh
# Removes what the manifest of job $2 in folder $1 says was made here, each thing only if it still is the same one.
# Volumes of container engines go too. Prints `removed PATH`, `kept PATH` (another thing has that name now) and
# `lease NETWORK XML`, `filter - NAME` for the caller to undo.
set -u
folder=$1/$2 job=$2
manifest=$folder/manifest
[ -f "$manifest" ] || exit 0

used() { # an image that a volume beside it backs on by now
  for volume in "${1%/*}"/*; do
    if [ -f "$volume" ] && [ "$volume" != "$1" ]; then
      head -c 1024 -- "$volume" | grep -aqF -e "$1" && return 0
    fi
  done
  return 1
}

gone() { rm -rf -- "$1" && echo "removed $1"; }

# Images last: what stands on them goes before.
{ grep -v '^image ' -- "$manifest"; grep '^image ' -- "$manifest" | tac; } | while read -r kind token path; do
  case $kind in
    lease | filter) echo "$kind $token $path" ;;
    beside) [ ! -e "$path" ] || gone "$path" ;;
    volume) "$token" volume rm -f "$path" >/dev/null && echo "removed $path" ;;
    file | image)
      rm -f -- "${path%/*}/.nf-migrate-$job-${path##*/}.part"
      [ -e "$path" ] || continue
      if [ "$(stat -c %d:%i -- "$path")" != "$token" ]; then
        echo "kept $path"
      elif [ "$kind" = file ] || ! used "$path"; then
        gone "$path"
        [ "$kind" = file ] || rm -f -- "$path.sha256"
      fi
      ;;
  esac
done

#!/bin/sh
# Renames files: $1 to $2, $3 to $4, … Done already, or nothing there, is fine; nothing is ever overwritten.
set -u
umask 077
while [ $# -gt 1 ]; do
  if [ -e "$1" ]; then
    mkdir -p -- "${2%/*}" || exit
    if [ -e "$2" ]; then
      echo "$2 is there already" >&2
      exit 94
    fi
    mv -nT -- "$1" "$2" || exit
    sync -- "${2%/*}" "${1%/*}"
    case $1 in # the folders of a quarantine go when they are empty, and no other
      */.novafleet-quarantine/*) rmdir -- "${1%/*}" 2>/dev/null && rmdir -- "$(dirname -- "${1%/*}")" 2>/dev/null ;;
    esac
  fi
  shift 2
done
exit 0

#!/bin/sh
# Exports a disk image as a unit of its own, until that is stopped.
# $1 unit  $2 export  $3 format  $4 image ($$ for $: systemd expands)  $5 bitmap to tell of, or empty  $6 read | write
# $7 UNIX socket, or ADDRESS $8 port
unit=$1 export=$2 format=$3 image=$4 bitmap=$5 mode=$6 at=$7 port=${8:-}
systemctl stop "$unit.service" 2>/dev/null
systemctl reset-failed "$unit.service" 2>/dev/null
set -- qemu-nbd --fork --persistent --shared=8
if [ -n "$port" ]; then
  set -- "$@" "--bind=$at" "--port=$port"
else
  [ -d "${at%/*}" ] || (umask 077 && mkdir -p "${at%/*}") || exit
  rm -f -- "$at"
  set -- "$@" "--socket=$at"
fi
if [ "$mode" = read ]; then set -- "$@" --read-only; else set -- "$@" --discard=unmap --detect-zeroes=unmap; fi
[ -z "$bitmap" ] || set -- "$@" "--bitmap=$bitmap"
systemd-run --quiet --collect --unit="$unit" --property=Type=forking -- \
  "$@" --export-name="$export" --format="$format" "$image" && exit
journalctl --unit="$unit" --output=cat --lines=5 --no-pager >&2
exit 1

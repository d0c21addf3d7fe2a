#!/bin/sh
# Exports a disk image at a UNIX socket as a unit of its own, until that is stopped.
# $1 unit  $2 socket  $3 export  $4 format  $5 image ($$ for $: systemd expands)  $6 bitmap to tell of, or empty
# $7 read | write
unit=$1 socket=$2 export=$3 format=$4 image=$5 bitmap=$6 mode=$7
folder=${socket%/*}
mkdir -p "$folder" && chmod 700 "${folder%/*}" "$folder" || exit
systemctl stop "$unit.service" 2>/dev/null
rm -f -- "$socket"
set -- qemu-nbd --fork --persistent --shared=4
if [ "$mode" = read ]; then set -- "$@" --read-only; else set -- "$@" --discard=unmap --detect-zeroes=unmap; fi
[ -z "$bitmap" ] || set -- "$@" "--bitmap=$bitmap"
systemd-run --quiet --collect --unit="$unit" --property=Type=forking -- \
  "$@" --socket="$socket" --export-name="$export" --format="$format" "$image" && exit
journalctl --unit="$unit" --output=cat --lines=5 --no-pager >&2
exit 1

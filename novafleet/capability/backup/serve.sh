# Exports the disk image of a VM that is off, read-only, until its unit is stopped.
# shellcheck shell=sh
# $1 unit  $2 socket  $3 export  $4 format  $5 image ($$ for $: systemd expands)  $6 bitmap to tell of, or empty
unit=$1 socket=$2 export=$3 format=$4 image=$5 bitmap=$6
set -- qemu-nbd --fork --persistent --shared=16 --read-only
[ -z "$bitmap" ] || set -- "$@" "--bitmap=$bitmap"
systemd-run --quiet --collect --unit="$unit" --property=Type=forking -- \
  "$@" --socket="$socket" --export-name="$export" --format="$format" "$image" && exit
journalctl --unit="$unit" --output=cat --lines=5 --no-pager >&2
exit 1

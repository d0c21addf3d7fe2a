# Exports the disk image of a VM that is off, read-only, until its unit is stopped, or that of its guard ends.
# shellcheck shell=sh
# $1 unit  $2 guard's unit  $3 socket  $4 export  $5 format  $6 image ($$ for $: systemd expands)
# $7 bitmap to tell of, or empty
unit=$1 guard=$2.service socket=$3 export=$4 format=$5 image=$6 bitmap=$7
set -- qemu-nbd --fork --persistent --shared=16 --read-only
[ -z "$bitmap" ] || set -- "$@" "--bitmap=$bitmap"
systemd-run --quiet --collect --unit="$unit" --property=Type=forking \
  --property=BindsTo="$guard" --property=After="$guard" -- \
  "$@" --socket="$socket" --export-name="$export" --format="$format" "$image" && exit
journalctl --unit="$unit" --output=cat --lines=5 --no-pager >&2
exit 1

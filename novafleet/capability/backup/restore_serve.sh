# Makes an empty disk image and exports it, writable, to one connection; the export ends with that connection.
# shellcheck shell=sh
# $1 unit  $2 socket  $3 export  $4 format  $5 image  $6 its size  $7 the image with $$ for $: systemd expands
unit=$1 socket=$2 export=$3 format=$4 image=$5 size=$6 expanded=$7
folder=${socket%/*}
mkdir -p "$folder" && chmod 700 "${folder%/*}" "$folder" || exit
umask 077
mkdir -p "${image%/*}" && rm -f -- "$image" && qemu-img create -q -f "$format" "$image" "$size" || exit
systemd-run --quiet --collect --unit="$unit" --property=Type=forking -- \
  qemu-nbd --fork --discard=unmap --detect-zeroes=unmap \
  --socket="$socket" --export-name="$export" --format="$format" "$expanded" && exit
journalctl --unit="$unit" --output=cat --lines=5 --no-pager >&2
rm -f -- "$image"
exit 1

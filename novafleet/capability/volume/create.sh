#!/bin/sh
# Makes the volume $1 of format $2 with $3 bytes (0: as large as its image) from the image $5 of format $6, by
# $4: blank | overlay | full. $7 is the image's digest, $8 is yes for a protected volume.
# It appears under its name only when it is whole; one that is there already is left alone.
set -eu
target=$1 format=$2 size=$3 how=$4 image=$5 image_format=$6 digest=$7 protect=$8
umask 077
if [ -e "$target" ]; then
  echo present
  exit 0
fi
rm -f -- "$target".part.*
part=$target.part.$$
trap 'rm -f -- "$part"' EXIT
trap 'exit 143' HUP INT TERM
case $how in
  blank) qemu-img create -q -f "$format" "$part" "$size" ;;
  overlay) qemu-img create -q -f "$format" -b "$image" -F "$image_format" "$part" ;;
  full) qemu-img convert -q -f "$image_format" -O "$format" "$image" "$part" ;;
esac
if [ "$how" != blank ] && [ "$size" != 0 ]; then
  qemu-img resize -q -f "$format" "$part" "$size"
fi
sync -- "$part"
rm -f -- "$target.sha256" "$target.protected"
[ -z "$digest" ] || printf '%s\n' "$digest" >"$target.sha256"
[ "$protect" != yes ] || : >"$target.protected"
mv -- "$part" "$target"
echo made

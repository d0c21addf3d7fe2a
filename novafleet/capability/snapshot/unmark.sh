# Removes bitmaps from an image nobody uses.
# shellcheck shell=sh
# $1 image  $2 … bitmaps
image=$1
shift
for name; do
  qemu-img bitmap --remove -f qcow2 -- "$image" "$name" || exit
done

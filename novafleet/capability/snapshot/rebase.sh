# Puts overlays that nobody has open on another image of the same content.
# shellcheck shell=sh
# $1 image  $2 its format  $3 … overlays
image=$1 format=$2
shift 2
for overlay; do
  qemu-img rebase -q -u -f qcow2 -b "$image" -F "$format" -- "$overlay" || exit
done

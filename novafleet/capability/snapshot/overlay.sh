# Makes overlays over images of a VM that is off, whole or not at all; one that is there is left alone.
# shellcheck shell=sh
# $1 … OVERLAY IMAGE FORMAT of each disk
while [ $# -gt 2 ]; do
  if [ ! -e "$1" ]; then
    qemu-img create -q -f qcow2 -b "$2" -F "$3" -- "$1.part" && sync -- "$1.part" && mv -- "$1.part" "$1" || exit
  fi
  shift 3
done

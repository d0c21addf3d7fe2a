# Makes overlays that hold what a snapshot inside images holds, whole or not at all; one that is there is left alone.
# shellcheck shell=sh
# $1 name of the snapshot, commas doubled  $2 … OVERLAY IMAGE FORMAT of each disk
name=$1
shift
while [ $# -gt 2 ]; do
  if [ ! -e "$1" ]; then
    qemu-img convert -q -f "$3" -O qcow2 -l "snapshot.name=$name" -- "$2" "$1.part" &&
      qemu-img rebase -q -f qcow2 -b "$2" -F "$3" -- "$1.part" && sync -- "$1.part" && mv -- "$1.part" "$1" || exit
  fi
  shift 3
done

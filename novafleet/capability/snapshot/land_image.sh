# Lays an unpacked qcow2 image on the one it belongs over, wherever it says it lies, and describes it.
# shellcheck shell=sh
# $1 image  $2 format  $3 path of the one below, or empty  $4 its format
[ -f "$1" ] || exit
[ -z "$3" ] || qemu-img rebase -q -u -f "$2" -b "$3" -F "$4" -- "$1" || exit
sync -- "$1" && qemu-img info --output=json -f "$2" -- "$1"

# Copies a small file beside or over another: whole or not at all.
# shellcheck shell=sh
# $1 from  $2 to
[ -e "$1" ] || exit 0
cp --preserve=mode,ownership -- "$1" "$2.part" && sync -- "$2.part" && mv -- "$2.part" "$2"

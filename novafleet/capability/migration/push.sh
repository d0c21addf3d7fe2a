#!/bin/sh
# Writes pieces of a file into an NBD export: holes are not sent. Standard input: `OFFSET LENGTH` lines.
# $1 the file and $2 the export as QEMU's JSON  $3 fresh: the export reads as zeroes there
# Prints `wrote LENGTH` for each piece.
set -u
source=$1 export=$2 zero=
[ "$3" != fresh ] || zero=--target-is-zero
part() { printf 'json:{"driver":"raw","offset":%s,"size":%s,"file":%s}' "$1" "$2" "$3"; }
while read -r offset length; do
  # shellcheck disable=SC2086 # one option, or none
  qemu-img convert -n -W -m 8 $zero \
    "$(part "$offset" "$length" "$source")" "$(part "$offset" "$length" "$export")" </dev/null || exit
  echo "wrote $length"
done

#!/bin/sh
# Writes pieces into file $1. Standard input: `OFFSET LENGTH` lines, an empty line, and the bytes of the pieces packed by
# $2 (zstd | none). $3 is `fresh` for a file that reads as zeroes there: then what is zero stays a hole.
# Prints `wrote LENGTH` for each piece. Whether it all came is for digest.sh to say.
set -u
file=$1 codec=$2 how=notrunc
[ "$3" != fresh ] || how=notrunc,sparse
list=
while IFS= read -r line && [ -n "$line" ]; do
  list="$list$line
"
done
unpack() { if [ "$codec" = zstd ]; then exec zstd -d -q -c; else exec cat; fi; }
unpack | {
  while read -r offset length <&3; do
    [ -n "$length" ] || continue
    dd of="$file" bs=64K iflag=count_bytes,fullblock oflag=seek_bytes conv="$how" seek="$offset" count="$length" \
      status=none || exit
    echo "wrote $length"
  done
} 3<<LIST
$list
LIST

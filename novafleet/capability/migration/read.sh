#!/bin/sh
# Writes pieces of file $1 to standard output, packed by $2 (zstd | none). Standard input: `OFFSET LENGTH` lines.
set -u
file=$1 codec=$2
pack() { if [ "$codec" = zstd ]; then exec zstd -1 -q -c; else exec cat; fi; }
{
  while read -r offset length; do
    dd if="$file" bs=1M iflag=skip_bytes,count_bytes skip="$offset" count="$length" status=none || exit
  done
} | pack

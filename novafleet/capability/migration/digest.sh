#!/bin/sh
# Prints the digest of each piece of file $1. Standard input: `OFFSET LENGTH` lines.
set -u
while read -r offset length; do
  dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip="$offset" count="$length" status=none | b2sum -l 256 || exit
done

#!/bin/sh
# Tells of files what of them holds data. $1 is a mark that begins each answer, $2 … the paths.
# Out: `MARK codec zstd|none`, then for each `MARK file SIZE` and the map as JSON; `MARK none` for one that is not there.
set -u
mark=$1
shift
command -v zstd >/dev/null && echo "$mark codec zstd" || echo "$mark codec none"
for path; do
  if [ -b "$path" ]; then size=$(blockdev --getsize64 "$path"); else size=$(stat -L -c %s -- "$path" 2>/dev/null); fi
  [ -n "$size" ] || { echo "$mark none"; continue; }
  echo "$mark file $size"
  [ "$size" = 0 ] && echo '[]' && continue
  qemu-img map -U --output=json -f raw "$path" || exit
done

#!/bin/sh
# Writes a folder to standard output as an incremental archive (GNU tar): $1 the folder, $2 what tells the last state
# from the next, $3 all | changes, $4 zstd | none.
set -u
[ "$3" = changes ] || { umask 077 && mkdir -p -- "${2%/*}" && rm -f -- "$2"; } || exit
pack() { if [ "$1" = zstd ]; then exec zstd -1 -q -c; else exec cat; fi; }
{
  tar --create --file=- --listed-incremental="$2" --numeric-owner --acls --xattrs --xattrs-include='*' --sparse \
    --directory="$1" .
  status=$?
  # 1: a file changed while it was read; it comes again with the changes
  [ "$status" -lt 2 ] || echo "tar of $1 ended with $status" >&2
} | pack "$4"

#!/bin/sh
# Unpacks an incremental archive from standard input into folder $1, packed by $2 (zstd | none): what the source has no
# more goes too.
set -u
umask 077
mkdir -p -- "$1" || exit
unpack() { if [ "$1" = zstd ]; then exec zstd -d -q -c; else exec cat; fi; }
unpack "$2" | tar --extract --file=- --listed-incremental=/dev/null --directory="$1" --numeric-owner --same-owner \
  --same-permissions --acls --xattrs --xattrs-include='*' --overwrite

#!/bin/sh
# Makes $1.part the image $1 of SHA-256 $2, with its sidecar. $3 is `verify` when nobody on this host has hashed it yet.
# The sidecar comes first: killed in between, the file is not there yet and the next attempt finishes.
# Status: 93 wrong digest ($1.part is removed; the line `digest X` tells what came), 94 could not write.
set -u
target=$1 digest=$2 part=$1.part
umask 022
[ -f "$part" ] || { [ -f "$target" ] && exit 0; }
if [ "$3" = verify ]; then
  came=$(sha256sum <"$part" | cut -d ' ' -f 1)
  [ "$came" = "$digest" ] || { rm -f -- "$part"; echo "digest $came"; exit 93; }
fi
chmod 0644 -- "$part" || exit 94
sync -- "$part" 2>/dev/null || sync
printf '%s\n' "$digest" >"$target.sha256.part" && mv -f -- "$target.sha256.part" "$target.sha256" || exit 94
mv -f -- "$part" "$target" || exit 94

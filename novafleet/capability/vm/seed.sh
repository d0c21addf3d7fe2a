#!/bin/sh
# Puts standard input in place as the seed $1, readable by root only, and its digest $2 beside it.
# The digest goes first and comes last: a seed whose writer was killed has none, and is made again.
set -eu
seed=$1 digest=$2
umask 077
rm -f -- "$seed.sha256" "$seed".part.*
trap 'rm -f -- "$seed.part.$$"' EXIT
trap 'exit 143' HUP INT TERM
cat >"$seed.part.$$"
sync -- "$seed.part.$$"
mv -f -- "$seed.part.$$" "$seed"
printf '%s\n' "$digest" >"$seed.sha256"

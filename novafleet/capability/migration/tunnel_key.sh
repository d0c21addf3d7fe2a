# Makes the key of a job, which never leaves this host, and pins the other host's; prints the public half. As root.
# shellcheck shell=sh
# $1 folder  $2 known hosts
set -eu
umask 077
rm -f -- "$1/key" "$1/key.pub"
ssh-keygen -q -t ed25519 -N '' -C '' -f "$1/key"
printf '%s\n' "$2" >"$1/known_hosts"
cut -d ' ' -f 1,2 "$1/key.pub"

# Takes the key of a job away again: every other byte of authorized_keys stays. What jobs made of file and folder goes
# with the last one. Runs as the login user.
# shellcheck shell=sh
# $1 job
set -eu
folder=$HOME/.ssh file=$HOME/.ssh/authorized_keys
[ -d "$folder" ] || exit 0
exec 9<"$folder"
flock 9
if [ -e "$file" ] && grep -q " novafleet-migrate-$1\$" "$file"; then sed -i "/ novafleet-migrate-$1\$/d" "$file"; fi
rm -f -- "$folder/.novafleet-$1-next"
if grep -qs ' novafleet-migrate-[0-9a-f]*$' "$file"; then exit 0; fi
if [ -e "$folder/.novafleet-new" ]; then
  [ -s "$file" ] || rm -f -- "$file"
  rm -f -- "$folder/.novafleet-new"
fi
if [ -e "$folder/.novafleet-made" ]; then
  rm -f -- "$folder/.novafleet-made"
  rmdir -- "$folder" 2>/dev/null || :
fi

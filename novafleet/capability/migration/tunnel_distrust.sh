# Takes the key of a job away again: every other byte of authorized_keys stays. Runs as the login user.
# shellcheck shell=sh
# $1 job
set -eu
folder=$HOME/.ssh file=$HOME/.ssh/authorized_keys
[ -d "$folder" ] || exit 0
if [ -e "$file" ] && grep -q " novafleet-migrate-$1\$" "$file"; then sed -i "/ novafleet-migrate-$1\$/d" "$file"; fi
if [ -e "$folder/.novafleet-$1-new" ] && [ ! -s "$file" ]; then rm -f -- "$file"; fi
made=
[ ! -e "$folder/.novafleet-$1-made" ] || made=yes
rm -f -- "$folder/.novafleet-$1-new" "$folder/.novafleet-$1-next" "$folder/.novafleet-$1-made"
[ -z "$made" ] || rmdir -- "$folder" 2>/dev/null || :

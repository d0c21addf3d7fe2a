# Runs a command only while the lease is ours, and lets no new holder in before it has ended (docs/concepts/fencing.md).
# shellcheck shell=sh
# $1 lease file  $2 our grant  $3 … the command. Status 121: the lease is not ours, nothing was run.
lease=$1 ours=$2
shift 2
command exec 8<"${lease%.lease}.work" || exit 121
flock -s 8 || exit 121
IFS= read -r grant <"$lease" || exit 121
[ "$grant" = "$ours" ] || exit 121
"$@" 8<&-
exit

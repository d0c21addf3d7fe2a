# Makes leases of single VMs part of one that is held; or looks whether one is part of another (docs/concepts/fencing.md).
# shellcheck shell=sh
# $1 the lease file that is held  $2 its grant  $3 … lease files that become part of it; none: is $1 part of another?
# Out: "held AGE LIMIT FILE HOLDER" for each of them, or for the other one, that somebody holds.
# shellcheck disable=SC3013  # -ef is not POSIX, but known to dash, bash and busybox
set -u
umask 022
lease=$1 ours=$2
shift 2

has_open() {
  for fd in "/proc/$1/fd"/*; do
    [ "$fd" -ef "$2" ] && return
  done
  return 1
}

# Says who holds a lease ($1), if anybody does, and with the grant $2 unless that is empty.
tell() {
  { IFS= read -r grant && read -r pid _ _ limit && IFS= read -r owner; } <"$1" || return 0
  [ -z "$2" ] || [ "$grant" = "$2" ] || return 0
  has_open "$pid" "$1" || return 0
  echo "held $(($(date +%s) - $(stat -c %Y "$1"))) $limit $1 $owner"
}

if [ $# = 0 ]; then
  [ -e "${lease%.lease}.within" ] || exit 0
  { IFS= read -r outer && IFS= read -r grant; } <"${lease%.lease}.within" || exit 0
  [ ! -e "$outer" ] || tell "$outer" "$grant"
  exit 0
fi
for inner; do
  printf '%s\n%s\n' "$lease" "$ours" >"${inner%.lease}.within.$$" || exit
  mv -f -- "${inner%.lease}.within.$$" "${inner%.lease}.within" || exit
done
for inner; do
  [ ! -e "$inner" ] || tell "$inner" ''
done

# Ends the backup of a VM before a file system runs full under it, and when its controller has been gone too long: a
# guest that cannot write is paused, and a VM whose image is being read cannot be started. Runs as a unit on the host.
# shellcheck shell=sh
# $1 the domain's UUID  $2 a path that is there as long as the backup  $3 the lease its controller keeps fresh
# $4 seconds of silence  $5 "held": also as soon as that lease is not held as it is now; "fresh": only then
# $6 file for the reason  $7 … DIRECTORY BYTES-TO-KEEP-FREE
# shellcheck disable=SC3013  # -ef is not POSIX, but known to dash, bash and busybox
uuid=$1 sign=$2 lease=$3 patience=$4 how=$5 reason=$6
shift 6

end() {
  echo "$1" >"$reason"
  virsh -q -c qemu:///system domjobabort "$uuid"
  exit
}

full() {
  while [ $# -gt 1 ]; do
    free=$(($(stat -f -c '%a * %S' "$1")))
    [ "$free" -ge "$2" ] || return 0
    shift 2
  done
  return 1
}

# The process that holds a lease ends with the SSH connection it came by (docs/concepts/fencing.md).
held() {
  [ "$how" = held ] || return 0
  { IFS= read -r grant && read -r pid _; } <"$lease" || return
  [ "$grant" = "$ours" ] || return
  for fd in "/proc/$pid/fd"/*; do
    [ "$fd" -ef "$lease" ] && return
  done
  return 1
}

IFS= read -r ours <"$lease"
while [ -e "$sign" ]; do
  ! full "$@" || end full
  held || end gone
  age=$(($(date +%s) - $(stat -c %Y "$lease" || echo 0)))
  [ "$age" -lt "$patience" ] || end gone
  sleep 1
done

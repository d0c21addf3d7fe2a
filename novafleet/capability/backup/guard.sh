# Ends the backup of a VM before a file system runs full under it, and when its controller has been gone too long: a
# guest that cannot write is paused, and an image that is being read cannot be started. Runs as a unit on the host.
# shellcheck shell=sh
# $1 the domain's UUID  $2 a socket that is there as long as the backup  $3 the lease its controller keeps fresh
# $4 seconds of silence  $5 file for the reason  $6 … DIRECTORY BYTES-TO-KEEP-FREE
uuid=$1 socket=$2 lease=$3 patience=$4 reason=$5
shift 5

end() {
  echo "$1" >"$reason"
  virsh -q -c qemu:///system domjobabort "$uuid"
  systemctl stop "nf-read-$uuid-*.service"
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

while [ -S "$socket" ]; do
  ! full "$@" || end full
  age=$(($(date +%s) - $(stat -c %Y "$lease" || echo 0)))
  [ "$age" -lt "$patience" ] || end gone
  sleep 1
done

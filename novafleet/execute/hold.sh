# Holds the lease of an environment on this host while standard input gives heartbeats (docs/concepts/fencing.md).
# shellcheck shell=sh
# $1 lease file  $2 token  $3 holder  $4 seconds without heartbeat after which it may be taken over
# $5 the grant that is ours already, to go on after a lost connection; empty for a new lease
#
# First line out: "granted EPOCH", or why not: "held AGE HOLDER", "taken HOLDER", "busy PIDS", "unsafe REASON".
# Then "." for each heartbeat. The lease file: "EPOCH TOKEN", "PID SSHD START TTL", HOLDER; the first line is the grant.
# shellcheck disable=SC3013,SC3067  # -ef and -O are not POSIX, but known to dash, bash and busybox
set -u
umask 022
lease=$1 token=$2 holder=$3 ttl=$4 before=$5
work=${lease%.lease}.work
directory=${lease%/*}

refuse() {
  echo "$*"
  exit 75
}

recall() {
  { IFS= read -r grant; read -r pid sshd start limit; IFS= read -r owner; } <"$lease"
}

# Nothing here forks without need: every VM that is backed up or moved takes a lease or two.

# What a process is: its start time tells it from a later one with the same number (proc(5), fields 4 and 22 of stat).
look_at() {
  parent='' born=''
  { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || return
  # shellcheck disable=SC2086
  set -- ${line##*) }
  parent=$2 born=${20}
}

# The oldest process of the SSH connection that carries us; sshd's listener is its parent and is left alone.
find_connection() {
  look_at $$
  at=$$ mine='' mine_born=$born
  while [ "${at:-0}" -gt 1 ]; do
    look_at "$at"
    read -r name <"/proc/$at/comm"
    case $name in
      sshd | sshd-session)
        IFS= read -r title <"/proc/$at/cmdline" # has no end of line, which read calls a failure
        case $title in *'[listener]'*) break ;; esac
        mine=$at mine_born=$born
        ;;
    esac
    at=$parent
  done
}

is_still() {
  look_at "$1"
  [ "$born" = "$2" ]
}

age() { echo $(($(date +%s) - $(stat -c %Y "$lease"))); }

# Which descriptor it is changes: dash moves one out of the way while a command runs without it.
has_open() {
  for fd in "/proc/$1/fd"/*; do
    [ "$fd" -ef "$2" ] && return
  done
  return 1
}

# Is the recorded holder a living process with the lease open, silent for too long, or a former self of ours?
replaceable() {
  { [ "${sshd:-0}" -gt 1 ] && has_open "$pid" "$lease"; } || return 1
  [ "$grant" = "$before" ] || [ "$(age)" -gt "$limit" ]
}

# End the recorded holder's SSH connection and all that came through it: stopped first, so that nothing forks away.
end_connection() {
  { [ "${sshd:-0}" -gt 1 ] && [ -n "${start:-}" ] && is_still "$sshd" "$start"; } || return 0
  if [ "$sshd" = "$mine" ]; then
    if [ "$grant" = "$before" ] && has_open "$pid" "$lease"; then kill -KILL "$pid"; fi
    return
  fi
  kill -STOP "$sshd"
  tree=" $sshd " size=0
  while [ "${#tree}" -ne "$size" ]; do
    size=${#tree}
    for stat in /proc/[0-9]*/stat; do
      { IFS= read -r line <"$stat"; } 2>/dev/null || continue
      rest=${line##*) }
      rest=${rest#* }
      case $tree in
        *" ${line%% *} "*) ;;
        *" ${rest%% *} "*) kill -STOP "${line%% *}" && tree="$tree${line%% *} " ;;
      esac
    done
  done 2>/dev/null
  # shellcheck disable=SC2086
  kill -KILL $tree 2>/dev/null
  tries=0
  while is_still "$sshd" "$start" && [ "$tries" -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.05
  done
}

# Commands that outlived their connection hold the work lock: wait for them, then kill them, then give up.
end_orphans() {
  exec 8<>"$work" || exit
  flock -w 5 8 && return
  pids=
  for process in /proc/[0-9]*; do
    if [ "${process#/proc/}" != $$ ] && has_open "${process#/proc/}" "$work"; then
      pids="$pids ${process#/proc/}"
      { IFS= read -r line <"$process/stat"; } 2>/dev/null || continue
      # shellcheck disable=SC2086
      set -- ${line##*) }
      kill -KILL "-$3" 2>/dev/null
    fi
  done
  flock -w 5 8 || refuse "busy$pids"
}

command -v flock >/dev/null || refuse "unsafe flock (util-linux) is not installed"
[ -d "$directory" ] || mkdir -p "$directory"
if [ ! -d "$directory" ] || [ -L "$directory" ] || [ ! -O "$directory" ]; then
  refuse "unsafe $directory does not belong to $(id -un)"
fi
exec 9<>"$lease" || exit

find_connection
flock -n 9
locked=$?
recall
[ -z "$before" ] || [ "$grant" = "$before" ] || refuse "taken $owner"
[ "$locked" = 0 ] || replaceable || refuse "held $(age) $owner"
end_connection
[ "$locked" = 0 ] || flock -w 5 9 || refuse "held $(age) $owner"
recall
[ -z "$before" ] || [ "$grant" = "$before" ] || refuse "taken $owner"

# Written over, not emptied: whoever reads meanwhile sees a whole grant.
epoch=${grant%% *}
[ -n "$before" ] || epoch=$((${epoch:-0} + 1))
printf '%s %s\n%s %s %s %s\n%s\n' \
  "$epoch" "$token" $$ "${mine:-0}" "$mine_born" "$ttl" "$holder" 1<>"$lease" || exit
end_orphans
exec 8>&-

echo "granted $epoch"
while IFS= read -r word; do
  if [ "$word" = release ]; then
    echo "$epoch released" >"$lease"
    exit 0
  fi
  touch -c "$lease" 9>&-
  echo .
done

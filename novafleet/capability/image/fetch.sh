#!/bin/sh
# Downloads $1 to $2.part until its SHA-256 is $3. Prints `total N`, `size N` and `note …` lines, at last `ready`
# ($2.part is right) or `present` ($2 is there already).
# Status: 90 no downloader, 91 the server refused, 92 the server was not reached, 93 wrong digest ($2.part is removed;
# the line `digest X` tells what came), 94 could not write, 95 the connection broke after some of it had come.
#
# The part file is its own lock: whoever opens it and gets the flock downloads, the rest wait for the outcome. It is
# kept when the connection breaks, and the next attempt goes on where it ended. The downloader inherits the lock, so
# that one whose controller died is waited for and not raced.
# shellcheck disable=SC3013 # test's -ef: dash, bash, busybox and mksh have it
set -u
url=$1 target=$2 digest=$3 part=$2.part
umask 022

present() { [ -f "$target" ] && read -r known _ 2>/dev/null <"$target.sha256" && [ "$known" = "$digest" ]; }

actual() { sha256sum <"$part" | cut -d ' ' -f 1; }

download() {
  if command -v curl >/dev/null; then
    curl -fsSL --proto '=http,https' --connect-timeout 20 --speed-limit 1 --speed-time 60 -C "$1" -o "$part" -- "$url"
    case $? in
      0) return 0 ;;
      22 | 33 | 36 | 47) return 91 ;;
      23) return 94 ;;
      *) return 92 ;;
    esac
  elif command -v wget >/dev/null; then
    # Without -c, wget -O empties the file; an empty one is simply begun.
    wget -q -c -T 60 -t 1 -O "$part" -- "$url"
    case $? in
      0) return 0 ;;
      3) return 94 ;;
      8) return 91 ;;
      *) return 92 ;;
    esac
  fi
  return 90
}

watched() {
  before=$(stat -c %s "$part")
  download "$1" &
  pid=$!
  pause=0.1 # a small file should not wait for a whole second
  while kill -0 "$pid" 2>/dev/null; do
    echo "size $(stat -c %s "$part")" || exit 1
    sleep "$pause" 2>/dev/null || sleep 1
    pause=1
  done
  wait "$pid"
  status=$?
  [ "$status" = 92 ] && [ "$(stat -c %s "$part")" -gt "$before" ] && status=95
  return "$status"
}

mkdir -p -- "$(dirname -- "$target")" || exit 94
while :; do
  exec 9>>"$part" || exit 94
  flock 9
  if present; then
    [ "$part" -ef /proc/self/fd/9 ] && rm -f -- "$part"
    echo present
    exit 0
  fi
  [ "$part" -ef /proc/self/fd/9 ] && break
  exec 9>&-
done

if command -v curl >/dev/null; then
  curl -fsSIL --proto '=http,https' --connect-timeout 20 -- "$url" 2>/dev/null |
    sed -n 's/^[Cc]ontent-[Ll]ength: *\([0-9]*\).*/total \1/p' | tail -n 1
fi

resumed=no
if [ -s "$part" ]; then
  resumed=yes
  # A part that is whole already would be asked for past its end, which servers refuse.
  [ "$(actual)" = "$digest" ] && echo ready && exit 0
  echo "note resuming at $(stat -c %s "$part") bytes"
fi
watched -
status=$?
if [ "$resumed" = yes ] && { [ "$status" = 91 ] || { [ "$status" = 0 ] && [ "$(actual)" != "$digest" ]; }; }; then
  echo "note what was here is not a beginning of it, starting anew"
  : >"$part"
  watched 0
  status=$?
fi
[ "$status" = 0 ] || exit "$status"
came=$(actual)
if [ "$came" != "$digest" ]; then
  rm -f -- "$part"
  echo "digest $came"
  exit 93
fi
echo ready

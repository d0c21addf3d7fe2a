#!/bin/sh
# A container engine of folders: volumes and containers are directories and files under $ENGINE.
set -u
cd "$ENGINE" || exit
echo "$@" >>log
last() { for last; do :; done; }
case "$1 ${2-}" in
"volume ls") ls volumes ;;
"volume inspect")
  last "$@"
  [ -d "volumes/$last" ] || exit 1
  echo "$ENGINE/volumes/$last"
  ;;
"volume create") last "$@" && mkdir "volumes/$last" ;;
"container inspect") ;;
ps*) case "$*" in *-aq*) ls containers ;; *) grep -lx running containers/* | sed 's:containers/::' ;; esac ;;
pause* | stop* | unpause* | start*)
  word=$1
  shift
  for each; do
    case $word in pause) echo paused ;; stop) echo exited ;; *) echo running ;; esac >"containers/$each"
  done
  ;;
*) exit 2 ;;
esac

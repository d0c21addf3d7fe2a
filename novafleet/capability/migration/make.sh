#!/bin/sh
# Makes what job $2 needs on its destination. $1 is the folder of manifests, $3 the domain, $4 its UUID, $5 look | make;
# then words:
#   disk PATH FORMAT SIZE BACKING BACKING-FORMAT   an empty volume (an overlay, when BACKING is not empty)
#   file PATH SIZE    an empty file, for one that is carried over as it is
#   image PATH SIZE   the same, for a base image that others may use from then on
#   side PATH TEXT    a file that holds one line, or nothing
#   beside PATH       nothing yet: QEMU, libvirt or the copy will make it
# First everything is looked at: `there PATH` for each that is in the way, status 93, and nothing was touched. Then each
# is made under a name of this job, noted in the manifest with device:inode, and only then gets its own name.
set -u
folder=$1/$2 job=$2 domain=$3 uuid=$4 mode=$5
shift 5
umask 077
manifest=$folder/manifest

width() { case $1 in disk) echo 6 ;; beside) echo 2 ;; *) echo 3 ;; esac; }
token() { stat -c %d:%i -- "$1"; }
noted() { [ -f "$manifest" ] && grep -qxF -- "$1" "$manifest"; }
ours() { case $1 in beside) noted "beside - $2" ;; image) noted "image $(token "$2") $2" ;; *) noted "file $(token "$2") $2" ;; esac; }
note() { printf '%s\n' "$1" >>"$manifest" && sync -- "$manifest"; }

look() {
  status=0
  while [ $# -gt 0 ]; do
    if [ -e "$2" ] || [ -L "$2" ]; then
      ours "$1" "$2" || { echo "there $2"; status=93; }
    fi
    shift "$(width "$1")"
  done
  return "$status"
}

fill() {
  case $1 in
    disk)
      if [ -n "$5" ]; then qemu-img create -q -f "$3" -b "$5" -F "$6" "$part" "$4"; else qemu-img create -q -f "$3" "$part" "$4"; fi
      ;;
    side) if [ -n "$3" ]; then printf '%s\n' "$3" >"$part"; else : >"$part"; fi ;;
    *) truncate -s "$3" -- "$part" ;;
  esac
}

place() {
  kind=$1
  case $kind in image) chmod 0644 -- "$part" || return ;; *) kind="file" ;; esac
  inode=$(token "$part") && sync -- "$part" && note "$kind $inode $2" || return
  mv -nT -- "$part" "$2" && [ "$(token "$2")" = "$inode" ]
}

make() {
  while [ $# -gt 0 ]; do
    part=${2%/*}/.nf-migrate-$job-${2##*/}.part
    if [ "$1" = beside ]; then
      noted "beside - $2" || note "beside - $2" || return
    elif [ ! -e "$2" ]; then
      rm -f -- "$part" && fill "$@" && place "$@" || return
    fi
    shift "$(width "$1")"
  done
}

look "$@" || exit
[ "$mode" = make ] || exit 0
mkdir -p -- "$folder" || exit
[ -f "$manifest" ] || note "job $uuid $domain" || exit
make "$@"

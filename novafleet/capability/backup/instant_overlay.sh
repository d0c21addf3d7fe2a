# Makes empty images for what a VM writes from now on, on top of what it reads through us.
# shellcheck shell=sh
# $1 … PART SIZE URL
umask 077
while [ $# -gt 2 ]; do
  rm -f -- "$1" && qemu-img create -q -f qcow2 -u -b "$3" -F raw "$1" "$2" || exit
  shift 3
done

# Describes images and all that each lies on; changes nothing.
# shellcheck shell=sh
# $1 … FORMAT PATH of each
# Out: for each a JSON array, the image itself first.
while [ $# -gt 1 ]; do
  # -U: a running guest holds the image's lock. The format is named: a raw disk's first bytes are the guest's choice.
  qemu-img info -U --backing-chain --output=json -f "$1" -- "$2" || exit
  shift 2
done

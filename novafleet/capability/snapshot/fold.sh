# Merges an image that nobody has open into the one below. The mark tells whoever comes next how far it got.
# shellcheck shell=sh
# $1 image  $2 the one below  $3 begun | done
if [ "$3" = begun ]; then
  echo begun >"$1.merge"
  # -d: the image stays whole, so that a merge that was cut off can be done again.
  qemu-img commit -q -d -f qcow2 -b "$2" -- "$1" || exit
  sync -- "$2"
fi
echo "done" >"$1.merge.part" && sync -- "$1.merge.part" && mv -- "$1.merge.part" "$1.merge"

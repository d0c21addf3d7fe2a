# Removes a snapshot that lies inside images nobody uses; where it is not that is fine.
# shellcheck shell=sh
# $1 name  $2 … images
name=$1
shift
for image; do
  qemu-img snapshot -q -d "$name" -- "$image" || ! qemu-img snapshot -l -- "$image" | grep -qF -- "$name" || exit
done

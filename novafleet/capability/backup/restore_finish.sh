# Waits until an image is closed, makes it durable, and says what it is now.
# shellcheck shell=sh
# $1 unit  $2 format  $3 image
unit=$1 format=$2 image=$3
systemctl stop "$unit.service" 2>/dev/null
if [ "$format" = qcow2 ]; then qemu-img check -q -f qcow2 "$image" || exit; fi
sync -- "$image" && qemu-img info --output=json -f "$format" "$image"

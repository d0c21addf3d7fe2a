#!/bin/sh
# What a stack is on its source. $1 engine  $2 label  then its bundle's folder and those of its volumes
# Out: `size BYTES` of each folder, `container JSON` (ports, mounts) and `image BYTES NAME` of each.
set -u
engine=$1 label=$2
shift 2
for folder; do
  size=$(du -sxB1 -- "$folder" 2>/dev/null | cut -f 1)
  echo "size ${size:-0}"
done
ids=$("$engine" ps -aq --filter "label=$label")
[ -n "$ids" ] || exit 0
name='{{.Config.Image}}'
[ "$engine" != podman ] || name='{{.ImageName}}'
# shellcheck disable=SC2086 # ids are hexadecimal words
"$engine" container inspect \
  --format 'container {"ports":{{json .HostConfig.PortBindings}},"mounts":{{json .Mounts}}}' $ids
# shellcheck disable=SC2086
"$engine" container inspect --format "$name" $ids | sort -u | while read -r image; do
  size=$("$engine" image inspect --format '{{.Size}}' "$image" 2>/dev/null)
  echo "image ${size:-0} $image"
done

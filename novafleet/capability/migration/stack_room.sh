#!/bin/sh
# What a destination has for a stack. $1 engine, then names of images
# Out: `image NAME` for those it has, `port NUMBER/PROTOCOL` for each that somebody listens on, `room BYTES FOLDER`.
set -u
engine=$1
shift
for image; do
  ! "$engine" image inspect "$image" >/dev/null 2>&1 || echo "image $image"
done
ss -Hltun | awk '{ n = split($5, part, ":"); print "port " part[n] "/" $1 }' | sort -u
form='{{.DockerRootDir}}'
[ "$engine" != podman ] || form='{{.Store.GraphRoot}}'
for folder in "$("$engine" info --format "$form" 2>/dev/null)" /var/lib; do
  [ -d "$folder" ] && echo "room $(df -PB1 -- "$folder" | awk 'END { print $4 }') $folder"
done

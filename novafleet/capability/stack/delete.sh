#!/bin/sh
# Removes the bundle $1. Unless $2 is `volumes`, only what NovaFleet put there (paths on standard input) goes: data that
# containers wrote into a mounted directory of the bundle stays.
set -u
cd -- "$1" 2>/dev/null || exit 0
if [ "$2" = volumes ]; then
  rm -rf -- "$1"
  exit
fi
while IFS= read -r path; do rm -f -- "./$path"; done
rm -rf -- ./.images
rm -f -- ./.novafleet.json
find . -depth -type d -empty -delete
cd / && rmdir -- "$1" 2>/dev/null
exit 0

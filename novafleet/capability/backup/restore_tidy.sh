# Removes what an unfinished exchange left beside a VM's disks, and what earlier ones kept long enough.
# shellcheck shell=sh disable=SC3013  # every sh in use knows -ef
# $1 unit prefix  $2 run-time folder  $3 beginning of part files  $4 minutes to keep old images  $5 … the VM's images
unit=$1 folder=$2 prefix=$3 minutes=$4
shift 4
systemctl stop "$unit-*.service" 2>/dev/null
rm -rf -- "$folder"
for image; do
  rm -f -- "${image%/*}/$prefix"*.part
  for old in "$image.before-"*; do
    if [ "$old" -ef "$image" ]; then rm -f -- "$old"; fi
    if [ -f "$old" ]; then find "$old" -maxdepth 0 -cmin "+$minutes" -delete; fi
  done
done

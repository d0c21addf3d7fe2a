#!/bin/sh
# Deletes a quarantine for good: its folders $2 … and, when they are gone, its record's folder $1.
set -u
record=$1
shift
for folder; do
  case $folder in */.novafleet-quarantine/*) ;; *) echo "$folder is no quarantine" >&2 && exit 1 ;; esac
  rm -rf -- "$folder" || exit
  rmdir -- "${folder%/*}" 2>/dev/null
done
rm -rf -- "$record"

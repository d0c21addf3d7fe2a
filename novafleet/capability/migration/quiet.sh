#!/bin/sh
# Ends what a job has running on a host. $1 its units begin so  $2 its folder for sockets  $3 … scratch files to remove
prefix=$1 folder=$2
shift 2
systemctl stop "$prefix-*.service" 2>/dev/null
for file; do rm -f -- "$file"; done
rm -rf -- "$folder"

# Lets paused containers go on when the controller of their backup is gone. Runs as a unit on the host.
# shellcheck shell=sh
# $1 engine  $2 folder: there as long as they are paused, their ids in "paused"  $3 the lease its controller keeps fresh
# $4 seconds of silence
engine=$1 folder=$2 lease=$3 patience=$4
while [ -e "$folder/paused" ]; do
  age=$(($(date +%s) - $(stat -c %Y "$lease" || echo 0)))
  if [ "$age" -ge "$patience" ]; then
    while read -r id; do "$engine" unpause "$id"; done <"$folder/paused"
    rm -rf -- "$folder"
  fi
  sleep 1
done

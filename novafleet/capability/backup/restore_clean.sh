# Removes what an unfinished restore left; then says what is in the way of a new one.
# shellcheck shell=sh disable=SC3013  # every sh in use knows -ef
# $1 unit prefix  $2 run-time folder  $3 pool directory  $4 beginning of part files  $5 … final paths, which are ours
# when they are links to a part file
# Out: "there PATH" for each final path that exists.
unit=$1 folder=$2 pool=$3 prefix=$4
shift 4
systemctl stop "$unit-*.service" 2>/dev/null
rm -rf -- "$folder"
for part in "$pool/$prefix"*.part; do
  [ -e "$part" ] || continue
  for final; do
    if [ "$part" -ef "$final" ]; then rm -f -- "$final"; fi
  done
  rm -f -- "$part"
done
# Of other restores: what nobody has written to for a day.
find "$pool" -maxdepth 1 -type f -name '.nf-restore-*.part' -mmin +1440 -delete
for final; do
  if [ -e "$final" ]; then echo "there $final"; fi
done

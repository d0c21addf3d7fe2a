# Removes what an import unpacked and named; then says what is in the way of another.
# shellcheck shell=sh disable=SC3013  # every sh in use knows -ef
# $1 folder  $2 … final paths, which are ours when they are links into the folder
# Out: "there PATH" for each final path that exists.
folder=$1
shift
for part in "$folder"/*/*; do
  for final; do
    if [ -f "$part" ] && [ "$part" -ef "$final" ]; then rm -f -- "$final"; fi
  done
done
rm -rf -- "$folder"
for final; do
  if [ -e "$final" ] || [ -L "$final" ]; then echo "there $final"; fi
done

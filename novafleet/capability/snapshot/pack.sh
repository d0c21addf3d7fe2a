# Writes a file or directory as a tar with one entry of that name, its holes left out, to standard output.
# shellcheck shell=sh
# $1 path  $2 name in the tar
folder=$(mktemp -d) || exit
trap 'rm -rf -- "$folder"' EXIT
trap 'exit 143' HUP INT TERM
ln -s -- "$1" "$folder/$2" &&
  tar --create --file=- --format=posix --sparse --dereference --numeric-owner --directory="$folder" -- "$2"

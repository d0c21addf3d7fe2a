# Takes one entry out of a tar on standard input; nothing but plain files and folders may come of it.
# shellcheck shell=sh
# $1 folder, which is made  $2 entry
umask 077
mkdir -p -- "$1" || exit
tar --extract --file=- --sparse --no-same-owner --no-same-permissions --directory="$1" -- "$2" && [ -e "$1/$2" ] || exit
odd=$(find "$1/$2" ! -type f ! -type d -o -type f -links +1)
[ -z "$odd" ] || { echo "not a plain file: $odd" >&2 && exit 1; }

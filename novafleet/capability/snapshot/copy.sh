# Copies a small file or directory beside or over another.
# shellcheck shell=sh
# $1 from  $2 to
[ -e "$1" ] || exit 0
mkdir -p -- "${2%/*}" && rm -rf -- "$2.part" && cp -a -- "$1" "$2.part" && sync -f -- "$2.part" || exit
[ ! -d "$2" ] || rm -rf -- "$2" || exit
mv -- "$2.part" "$2"

# Puts unpacked folders in the place of those they replace, which are kept beside them: all, or none.
# shellcheck shell=sh
# $1 what the names of the old ones end with  $2 days old ones are kept  $3 … PART FINAL
kept=$1 days=$2
shift 2

exchange() {
  while [ $# -gt 1 ]; do
    if [ -d "$2" ]; then
      rmdir -- "$2" 2>/dev/null || mv -T -- "$2" "$2$kept" || return
    fi
    mv -T -- "$1" "$2" || return
    sync -f -- "$2"
    shift 2
  done
}

if exchange "$@"; then
  while [ $# -gt 1 ]; do
    find "${2%/*}" -maxdepth 1 -type d -name "${2##*/}.before-*" ! -name "*$kept" -ctime "+$days" -exec rm -rf -- {} +
    if [ -d "$2$kept" ]; then echo "$2$kept"; fi
    shift 2
  done
  exit 0
fi
while [ $# -gt 1 ]; do
  if [ -d "$2$kept" ]; then
    rm -rf -- "$1"
    mv -T -- "$2" "$1" 2>/dev/null
    mv -T -- "$2$kept" "$2"
  fi
  shift 2
done
exit 1

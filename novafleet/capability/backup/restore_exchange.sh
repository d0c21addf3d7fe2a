# Puts finished images in the place of a VM's own, which are kept beside them: all, or none.
# shellcheck shell=sh
# $1 what the names of the old ones end with  $2 … PART FINAL FORMAT
kept=$1
shift

exchange() {
  while [ $# -gt 2 ]; do
    chown --reference="$2" -- "$1" && chmod --reference="$2" -- "$1" && ln -- "$2" "$2$kept" || return
    mv -f -- "$1" "$2" || return
    sync -f -- "$2"
    shift 3
  done
}

# Whatever has a name we would give is none of ours.
taken() {
  while [ $# -gt 2 ]; do
    if [ -e "$2$kept" ]; then echo "$2$kept is there already" >&2 && return 0; fi
    shift 3
  done
  return 1
}

# QEMU's own lock tells whether anybody uses an image.
used() {
  while [ $# -gt 2 ]; do
    qemu-img info -f "$3" "$2" >/dev/null || return 0
    shift 3
  done
  return 1
}

if taken "$@"; then exit 1; fi
if used "$@"; then exit 75; fi
exchange "$@" && exit
while [ $# -gt 2 ]; do
  if [ -e "$2$kept" ]; then mv -f -- "$2$kept" "$2"; fi
  shift 3
done
exit 1

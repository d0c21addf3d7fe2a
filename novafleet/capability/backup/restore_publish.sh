# Gives finished images their names: all, or none.
# shellcheck shell=sh disable=SC3013  # every sh in use knows -ef
# $1 … PART FINAL
publish() {
  while [ $# -gt 1 ]; do
    ln -- "$1" "$2" || return
    sync -f -- "$2"
    shift 2
  done
}
publish "$@" && exit
while [ $# -gt 1 ]; do
  if [ "$1" -ef "$2" ]; then rm -f -- "$2"; fi
  shift 2
done
exit 1

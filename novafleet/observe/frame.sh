# shellcheck shell=sh
# $1 the mark, $2 seconds each may take, then NAME SCRIPT …: runs all scripts side by side and prints a frame of each,
# one after the other, the last one's first. A frame waits in its pipe (64 KiB) for those after it: whoever prints most
# comes last.
MARK=$1
export MARK
limit="timeout -k 3 $2"
command -v timeout >/dev/null || limit=
shift 2

frame() {
  printf '\n%s-begin %s\n' "$MARK" "$1"
  # shellcheck disable=SC2086 # words
  $limit sh -c "$2" "$1" 2>&1 </dev/null
  printf '\n%s-end %s %s\n' "$MARK" "$1" "$?"
}

frames() {
  if [ $# -gt 2 ]; then
    frame "$1" "$2" | {
      shift 2
      frames "$@"
      cat
    }
  else
    frame "$1" "$2"
  fi
}

[ $# -lt 2 ] || frames "$@"

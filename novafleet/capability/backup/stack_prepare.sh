# Removes what an unfinished restore of a stack left; then says what is in the way of a new one, and makes its volumes.
# shellcheck shell=sh
# $1 engine  $2 project  $3 bundle's folder  $4 where that is unpacked  $5 "new" or "in-place"  $6 … NAME LABELS of each
# volume: LABELS are lines KEY=VALUE
# Out: "there WHAT" for what is in the way; else "volume NAME FOLDER" for each, and "unpack" where nothing is.
engine=$1 project=$2 root=$3 part=$4 how=$5
shift 5
label=com.docker.compose.project=$project

in_the_way() {
  if [ "$how" = in-place ]; then
    "$engine" ps -a --filter "label=$label" --filter status=running --filter status=paused \
      --format 'container {{.Names}}, which runs'
    return
  fi
  "$engine" ps -a --filter "label=$label" --format 'container {{.Names}}'
  if [ -e "$root" ]; then echo "$root"; fi
  while [ $# -gt 1 ]; do
    # an empty one is what an engine, or an unfinished restore, has just made
    folder=$("$engine" volume inspect --format '{{.Mountpoint}}' "$1" 2>/dev/null) &&
      [ -n "$(ls -A "$folder")" ] && echo "volume $1"
    shift 2
  done
  return 0
}

made() {
  "$engine" volume inspect "$1" >/dev/null 2>&1 && return
  name=$1 labels=$2
  set --
  while IFS= read -r line; do
    [ -z "$line" ] || set -- "$@" --label "$line"
  done <<END
$labels
END
  "$engine" volume create "$@" "$name" >/dev/null
}

rm -rf -- "$part"
found=$(in_the_way "$@") || exit
if [ -n "$found" ]; then
  printf '%s\n' "$found" | sed 's/^/there /'
  exit 0
fi
while [ $# -gt 1 ]; do
  made "$1" "$2" && folder=$("$engine" volume inspect --format '{{.Mountpoint}}' "$1") || exit
  rm -rf -- "$folder.nf-restore"
  echo "volume $1 $folder"
  shift 2
done

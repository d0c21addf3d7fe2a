# Gives the named volumes of a stack back what was kept, its containers stopped meanwhile. Runs as a unit on the host; a
# second time begins again.
# shellcheck shell=sh
# $1 engine  $2 project  $3 folder
engine=$1 label=com.docker.compose.project=$2 folder=$3
held=${folder%/*}/.held
umask 077
[ -f "$folder/note" ] || { echo "$folder is not there" >&2 && exit 1; }
if [ ! -e "$held" ]; then
  ids=$("$engine" ps -q --no-trunc --filter status=running --filter "label=$label") || exit
  for id in $ids; do echo "stop $id" >>"$held.part"; done
  [ ! -e "$held.part" ] || mv -- "$held.part" "$held"
fi
ids=$("$engine" ps -q --filter "label=$label") || exit
# shellcheck disable=SC2086  # ids are hexadecimal words
[ -z "$ids" ] || "$engine" stop $ids >/dev/null || exit
for tar in "$folder"/*.tar; do
  [ -f "$tar" ] || continue
  name=${tar##*/} name=${name%.tar}
  "$engine" volume inspect "$name" >/dev/null 2>&1 || "$engine" volume create --label "$label" "$name" >/dev/null || exit
  path=$("$engine" volume inspect --format '{{.Mountpoint}}' "$name") && [ -n "$path" ] && [ -d "$path" ] || exit
  find "$path" -mindepth 1 -delete &&
    tar --extract --file="$tar" --sparse --acls --xattrs --xattrs-include='*' --numeric-owner --same-owner -p -C "$path" ||
    exit
  sync -f -- "$path"
done
[ -e "$held" ] || exit 0
# In scopes of their own: podman's monitor of a container would else end with our unit, and the container with it.
while read -r _ id; do
  systemd-run --quiet --scope --collect -- "$engine" start "$id" >/dev/null || exit
done <"$held"
rm -f -- "$held"

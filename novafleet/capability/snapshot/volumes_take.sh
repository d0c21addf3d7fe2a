# Keeps the named volumes of a stack as tars, whole or not at all, its containers paused or stopped meanwhile. Runs as a
# unit on the host: it ends, and they go on, whatever becomes of the controller.
# shellcheck shell=sh
# $1 engine  $2 project  $3 folder  $4 pause | stop  $5 what is remembered of it
engine=$1 label=com.docker.compose.project=$2 folder=$3 how=$4 note=$5
part=$folder.part held=${folder%/*}/.held
umask 077
form='{{range .Mounts}}{{if eq .Type "volume"}}{{println .Name}}{{end}}{{end}}'

names() {
  "$engine" volume ls -q --filter "label=$label" || return
  ids=$("$engine" ps -aq --filter "label=$label") || return
  # shellcheck disable=SC2086  # ids are hexadecimal words
  [ -z "$ids" ] || "$engine" container inspect --format "$form" $ids
}

# In a scope of its own: podman's monitor of a container would else end with our unit, and the container with it.
start() { systemd-run --quiet --scope --collect -- "$engine" start "$1"; }

go_on() {
  [ -e "$held" ] || return 0
  while read -r was id; do
    case $was in pause) "$engine" unpause "$id" ;; *) start "$id" ;; esac >/dev/null
  done <"$held"
  rm -f -- "$held"
}

hold() {
  ids=$("$engine" ps -q --no-trunc --filter status=running --filter "label=$label") || return
  for id in $ids; do echo "$how $id" >>"$held"; done
  # shellcheck disable=SC2086  # ids are hexadecimal words
  [ -z "$ids" ] || "$engine" "$how" $ids >/dev/null
}

keep() {
  for name; do
    path=$("$engine" volume inspect --format '{{if eq .Driver "local"}}{{.Mountpoint}}{{end}}' "$name") || return
    [ -n "$path" ] || continue
    tar --create --file="$part/$name.tar" --sparse --acls --xattrs --xattrs-include='*' --numeric-owner -C "$path" . ||
      [ $? = 1 ] || return
  done
}

mkdir -p -- "${folder%/*}" || exit
go_on
trap go_on EXIT
trap 'exit 143' HUP INT TERM
rm -rf -- "$part" && mkdir -- "$part" || exit
# A volume nobody named is called by 64 hexadecimal digits.
found=$(names) || exit
found=$(printf '%s\n' "$found" | sed '/^$/d; /^[0-9a-f]\{64\}$/d' | sort -u)
began=$(date +%s.%N)
# shellcheck disable=SC2086  # an engine lets no blank into a volume's name
hold && keep $found || exit
go_on
echo "$began $(date +%s.%N)" >"$part/held" && printf %s "$note" >"$part/note" && sync -f -- "$part" && rm -rf -- "$folder" && mv -- "$part" "$folder"

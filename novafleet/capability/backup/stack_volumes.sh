# Describes the named volumes of a stack: those that carry its label, and those its containers have mounted.
# shellcheck shell=sh
# $1 engine  $2 project
# Out: what the engine's inspect says of them: a JSON array, or nothing when there are none.
engine=$1 label=com.docker.compose.project=$2
form='{{range .Mounts}}{{if eq .Type "volume"}}{{println .Name}}{{end}}{{end}}'

names() {
  "$engine" volume ls -q --filter "label=$label" || return
  ids=$("$engine" ps -aq --filter "label=$label") || return
  # shellcheck disable=SC2086  # ids are hexadecimal words
  [ -z "$ids" ] || "$engine" container inspect --format "$form" $ids
}

found=$(names) || exit
[ -n "$found" ] || exit 0
# shellcheck disable=SC2046  # an engine lets no blank into a volume's name
"$engine" volume inspect $(printf '%s\n' "$found" | sed '/^$/d' | sort -u)

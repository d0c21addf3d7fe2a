# Tells of which images the containers of a stack are made.
# shellcheck shell=sh
# $1 engine  $2 project
# Out: "ID BYTES NAME" for each; NAME is what the stack's files call it, BYTES -1 when the engine has it no more.
engine=$1 label=com.docker.compose.project=$2
form='{{.Image}} {{.Config.Image}}'
[ "$engine" != podman ] || form='{{.Image}} {{.ImageName}}'

ids=$("$engine" ps -aq --filter "label=$label") || exit
[ -n "$ids" ] || exit 0
# shellcheck disable=SC2086  # ids are hexadecimal words
found=$("$engine" container inspect --format "$form" $ids) || exit
printf '%s\n' "$found" | sort -u | while read -r id name; do
  bytes=$("$engine" image inspect --format '{{.Size}}' "$id" 2>/dev/null) || bytes=-1
  echo "$id $bytes $name"
done

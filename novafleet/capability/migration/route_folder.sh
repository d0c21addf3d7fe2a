# Makes the run-time folder of a route anew: QEMU may pass through it, its owner may listen in it. Runs as root.
# shellcheck shell=sh
# $1 folder  $2 owner
folder=$1 owner=$2
mkdir -p "${folder%/*}" && chmod 711 "${folder%/*/*}" "${folder%/*}" &&
  rm -rf -- "$folder" && mkdir -m 711 "$folder" && chown "$owner" "$folder"

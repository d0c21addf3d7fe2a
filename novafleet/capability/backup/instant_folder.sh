# Makes the run-time folder of an instant restore: QEMU may pass through it, the login user may listen in "up".
# shellcheck shell=sh
# $1 folder  $2 login user
folder=$1 login=$2
mkdir -p "$folder/up" && chmod 711 "${folder%/*/*}" "${folder%/*}" "$folder" &&
  chown "$login" "$folder/up" && chmod 700 "$folder/up"

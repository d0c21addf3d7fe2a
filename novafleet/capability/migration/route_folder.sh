# Makes the run-time folder of a route anew: QEMU may pass through it, its owner may listen in it. Runs as root.
# shellcheck shell=sh
# $1 folder  $2 owner  $3 who connects to what the owner's QEMU listens on ("": root does, or nobody)
folder=$1 owner=$2 login=$3
[ -d "${folder%/*}" ] || mkdir -p "${folder%/*}" || exit
chmod 711 "${folder%/*/*}" "${folder%/*}" || exit
[ ! -e "$folder" ] || rm -rf -- "$folder" || exit
mode=711
# Sockets belong to the folder's group, and QEMU's can be written to by theirs (its umask is 002): sshd opens them for
# the user then, where a group is the user's alone. Else it takes a session and sudo for each connection.
if [ -n "$login" ] && group=$(id -gn "$login") && [ "$group" = "$login" ]; then
  mode=2711 owner=${owner%%:*}:$group
fi
mkdir -m 711 "$folder" && chown "$owner" "$folder" || exit
[ "$mode" = 711 ] || chmod "$mode" "$folder"

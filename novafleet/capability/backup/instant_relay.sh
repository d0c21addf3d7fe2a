# Starts, unless it runs, what stands between a VM and us: it waits while our connection is gone, and connects again.
# One that a killed run of another snapshot left under this name serves another export: it goes.
# shellcheck shell=sh
# $1 folder  $2 UID:GID of QEMU, or empty  $3 unit prefix  $4 seconds to wait for us  $5 … TARGET EXPORT
folder=$1 owner=$2 prefix=$3 patience=$4
shift 4
while [ $# -gt 1 ]; do
  unit=$prefix-$1 socket=$folder/$1.sock serves=$folder/$1.export
  [ "$(cat -- "$serves" 2>/dev/null)" = "$2" ] || systemctl stop "$unit.service" 2>/dev/null
  if ! systemctl -q is-active "$unit.service"; then
    rm -f -- "$socket"
    systemd-run --quiet --collect --unit="$unit" --property=Type=forking -- \
      qemu-nbd --fork --persistent --shared=8 --read-only --socket="$socket" --export-name="$2" --image-opts \
      "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=$folder/up/nbd.sock,file.export=$2,file.reconnect-delay=$patience" || {
      journalctl --unit="$unit" --output=cat --lines=5 --no-pager >&2
      exit 1
    }
    printf '%s\n' "$2" >"$serves" || exit
  fi
  chmod 600 "$socket" || exit
  [ -z "$owner" ] || chown "$owner" "$socket" || exit
  shift 2
done

# Gives the state of an emulated TPM to the user swtpm runs as: libvirt makes the folder theirs, not the files in it.
# shellcheck shell=sh
# $1 folder
named() { sed -n "s/^ *$1 *= *\"\\(.*\\)\".*/\\1/p" /etc/libvirt/qemu.conf | tail -n 1; }
user=$(named swtpm_user) group=$(named swtpm_group)
for each in tss swtpm; do
  [ -n "$user" ] || user=$(id -un "$each" 2>/dev/null)
done
[ -n "$user" ] || exit 0
chmod 711 -- "$1" && find "$1" -mindepth 1 -exec chown -h -- "$user:${group:-$(id -gn "$user")}" {} +

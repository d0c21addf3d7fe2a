#!/bin/sh
# boot-disk OUT.qcow2 KERNEL INITRD CMDLINE [ROOT MIB]: a disk that a BIOS boots, without a loop device or any right to mount.
# Its first partition is FAT with SYSLINUX, the kernel and the initrd; with ROOT, its second is ext4 with what ROOT holds.
set -eu
out=$1 kernel=$2 initrd=$3 cmdline=$4 root=${5:-} root_mib=${6:-0}
work=$(mktemp -d)
disk=$work/disk

boot_mib=$((($(stat -L -c %s "$kernel") + $(stat -L -c %s "$initrd")) / 1048576 + 8))
truncate -s "$((1 + boot_mib + root_mib))M" "$disk"
{
    echo "label: dos"
    echo "start=1MiB, size=${boot_mib}MiB, type=6, bootable"
    [ -z "$root" ] || echo "start=$((1 + boot_mib))MiB, size=${root_mib}MiB, type=83"
} | sfdisk --quiet "$disk"

truncate -s "${boot_mib}M" "$work/fat"
mkfs.fat -F 16 -n BOOT --invariant "$work/fat" >/dev/null
printf 'DEFAULT linux\nPROMPT 0\nLABEL linux\n KERNEL vmlinuz\n INITRD initrd.img\n APPEND %s\n' "$cmdline" >"$work/syslinux.cfg"
mcopy -i "$work/fat" "$kernel" ::vmlinuz
mcopy -i "$work/fat" "$initrd" ::initrd.img
mcopy -i "$work/fat" "$work/syslinux.cfg" ::syslinux.cfg
syslinux --install "$work/fat"
dd if="$work/fat" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if=/usr/lib/SYSLINUX/mbr.bin of="$disk" conv=notrunc status=none

if [ -n "$root" ]; then
    mke2fs -q -t ext4 -L root -m 0 -d "$root" -E "offset=$(((1 + boot_mib) * 1048576)),lazy_itable_init=1" "$disk" "${root_mib}M"
fi
qemu-img convert -c -O qcow2 "$disk" "$out"
rm -rf "$work"

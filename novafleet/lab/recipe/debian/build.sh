#!/bin/sh
# build.sh OUT: a whole Debian as a disk that boots by itself, OUT/debian.qcow2.
set -eu
out=$1
work=$(mktemp -d)
for name in vmlinuz initrd.img; do mv /rootfs/boot/"$name"-* "$work/$name"; done
rm -rf /rootfs/boot/* /rootfs/vmlinuz* /rootfs/initrd.img* /rootfs/.dockerenv
ln -sf ../run/systemd/resolve/stub-resolv.conf /rootfs/etc/resolv.conf
echo debian >/rootfs/etc/hostname
printf '127.0.0.1\tlocalhost\n' >/rootfs/etc/hosts
mib=$(($(du -sm /rootfs | cut -f 1) * 5 / 4 + 200))
boot-disk "$out/debian.qcow2" "$work/vmlinuz" "$work/initrd.img" "root=LABEL=root ro console=ttyS0 quiet" /rootfs "$mib"
rm -rf "$work"

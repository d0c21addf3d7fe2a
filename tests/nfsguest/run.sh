#!/bin/sh
# run.sh SERVER: boot with what is in /source (program.py and the package) added to the guest's root.
set -eu
(cd /source && find . | cpio --quiet -o -H newc | gzip -1) >/guest/source
cat /guest/initrd /guest/source >/guest/both
exec qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 640 -nographic -no-reboot -nodefaults -serial stdio \
    -kernel /guest/vmlinuz -initrd /guest/both -append "console=ttyS0 panic=-1 loglevel=3 nfsserver=$1" \
    -netdev user,id=lan -device virtio-net-pci,netdev=lan

#!/bin/sh
# run.sh SERVER: boot with what is in /source (program.py and the package) added to the guest's root, and what of
# Python it imports, compiled here: QEMU without KVM would need half a minute for that. Nothing is compressed.
set -eu
root=/guest/root
mkdir -p $root
cp -r /source/. $root/
PYTHONPATH=/source PYTHONDONTWRITEBYTECODE=1 python3 /parts.py /source/program.py | while read -r file; do
    mkdir -p "$root${file%/*}"
    cp -L "$file" "$root$file"
done
python3 -m compileall -q --invalidation-mode unchecked-hash $root
(cd $root && find . | cpio --quiet -o -H newc) >/guest/source
cat /guest/initrd /guest/source >/guest/both
exec qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 512 -nographic -no-reboot -nodefaults -serial stdio \
    -kernel /guest/vmlinuz -initrd /guest/both -append "console=ttyS0 panic=-1 loglevel=3 edd=off nfsserver=$1" \
    -netdev user,id=lan -device virtio-net-pci,netdev=lan,romfile=

#!/bin/sh
# /guest/vmlinuz and /guest/initrd: busybox, and the modules of a virtio NIC and of NFS.
set -eu
version=$(ls /lib/modules)
root=/guest/root
mkdir -p $root/bin $root/proc $root/sys $root/dev $root/mnt $root/tmp $root/etc "$root/lib/modules/$version"
cp /bin/busybox $root/bin/
for name in sh mount ip modprobe poweroff sed; do ln -s busybox $root/bin/$name; done
for module in virtio_pci virtio_net nfs nfsv3 nfsv4; do
    modprobe --set-version "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | while read -r file; do
    mkdir -p "$root${file%/*}"
    cp "$file" "$root$file"
done
cp "/lib/modules/$version/modules.order" "/lib/modules/$version/modules.builtin" \
    "/lib/modules/$version/modules.builtin.modinfo" "$root/lib/modules/$version/"
depmod --basedir $root "$version"
echo 'root:x:0:0:root:/:/bin/sh' >$root/etc/passwd
cp /init $root/init
chmod 755 $root/init
(cd $root && find . | cpio --quiet -o -H newc) >/guest/initrd
cp "/boot/vmlinuz-$version" /guest/vmlinuz
rm -rf $root

#!/bin/sh
# /guest/vmlinuz and /guest/initrd: busybox, python3, the modules of a virtio NIC and of NFS.
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
mkdir -p $root/usr/bin $root/usr/lib
cp /usr/bin/python3.11 $root/usr/bin/
tar -C /usr/lib -c --exclude=__pycache__ --exclude=test --exclude=idlelib --exclude=lib2to3 python3.11 | tar -C $root/usr/lib -x
for binary in /usr/bin/python3.11 /usr/lib/python3.11/lib-dynload/*.so; do
    ldd "$binary" | sed -n -e 's/.*=> \(\/[^ ]*\) .*/\1/p' -e 's/^[[:space:]]*\(\/[^ ]*\) .*/\1/p'
done | sort -u | while read -r file; do
    mkdir -p "$root${file%/*}"
    cp -L "$file" "$root$file"
done
echo 'root:x:0:0:root:/:/bin/sh' >$root/etc/passwd
cp /init $root/init
chmod 755 $root/init
(cd $root && find . | cpio --quiet -o -H newc | gzip -1) >/guest/initrd
cp "/boot/vmlinuz-$version" /guest/vmlinuz
rm -rf $root

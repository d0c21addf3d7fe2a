#!/bin/sh
# build.sh OUT: the tiny guest as OUT/vmlinuz and OUT/initrd.img, and as a disk that boots by itself, OUT/mini.qcow2.
set -eu
umask 022
here=$(dirname "$0")
out=$1
root=$(mktemp -d)
version=$(ls /kernel/lib/modules)

install_program() { # PATH...: with the libraries that it loads
    for program in "$@"; do
        for file in "$program" $(ldd "$program" | grep -o '/[^ ]*'); do
            mkdir -p "$root$(dirname "$file")"
            cp -L "$file" "$root$file"
        done
    done
}

modules_in_order() { # NAME...: file names, what a module needs before it
    for name in "$@"; do
        modprobe -S "$version" -d /kernel --show-depends "$name" | awk '$1 == "insmod" { print $2 }'
    done | awk '!seen[$0]++'
}

install_modules() { # LIST NAME...
    list=$1
    shift
    mkdir -p "$root/lib/modules"
    modules_in_order "$@" | while read -r file; do
        cp "$file" "$root/lib/modules/"
        echo "/lib/modules/$(basename "$file")"
    done >"$root/lib/modules/$list"
}

mkdir -p "$root"/bin "$root"/sbin "$root"/usr/bin "$root"/usr/sbin "$root"/dev "$root"/proc "$root"/sys "$root"/run \
    "$root"/tmp "$root"/root "$root"/mnt "$root"/home "$root"/srv/www "$root"/var/log "$root"/etc/dropbear
ln -s lib "$root/lib64"
cp /bin/busybox "$root/bin/busybox"
"$root/bin/busybox" --list-full | while read -r applet; do
    [ -e "$root/$applet" ] || ln -s /bin/busybox "$root/$applet"
done
ln -s sbin/init "$root/init"
ln -s /run "$root/var/run"
install_program /usr/sbin/dropbear /usr/bin/dropbearkey /usr/sbin/qemu-ga
cp -r "$here/files/." "$root/"
install_modules boot virtio_pci virtio_blk virtio_net virtio_console virtio-rng isofs button evdev
install_modules cdrom ata_piix virtio_scsi sr_mod sd_mod
mknod -m 600 "$root/dev/console" c 5 1
chmod 1777 "$root/tmp"
chmod 700 "$root/root"

find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible) | gzip -n -9 >"$out/initrd.img"
cp "/kernel/boot/vmlinuz-$version" "$out/vmlinuz"
boot-disk "$out/mini.qcow2" "$out/vmlinuz" "$out/initrd.img" "console=ttyS0 quiet"
rm -rf "$root"

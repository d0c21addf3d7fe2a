#!/bin/sh
# /dev/kvm may exist and still be unable to run a guest (nested, paravirtual). So boot one: a boot sector that
# writes `K` to the serial port and leaves through isa-debug-exit. Prints `kvm works|fails|absent|untried detail`.
accelerator=${ACCELERATOR:-kvm}
if [ "$accelerator" = kvm ]; then
  [ -c /dev/kvm ] || { echo "kvm absent no /dev/kvm"; exit 0; }
  # KVM without VT-x or AMD-V (PVM) boots this sector, and stops any kernel that was not made for it.
  if grep -q '^flags' /proc/cpuinfo && ! grep -q -m1 -E '^flags.* (vmx|svm)( |$)' /proc/cpuinfo; then
    echo "kvm fails the CPU has neither VT-x nor AMD-V: a paravirtual KVM (PVM) runs only kernels made for it"
    exit 0
  fi
fi
for qemu in qemu-system-x86_64 /usr/libexec/qemu-kvm ''; do
  command -v "$qemu" >/dev/null 2>&1 && break
done
[ -n "$qemu" ] || { echo "kvm untried no qemu-system-x86_64"; exit 0; }
place=$(mktemp -d) || { echo "kvm untried no temporary directory"; exit 0; }
trap 'rm -rf "$place"' EXIT
chmod 0755 "$place"
# As the user that libvirt runs QEMU as: the device may be closed to it.
set --
for user in $(sed -n 's/^ *user *= *"+\{0,1\}\([^"]*\)".*/\1/p' /etc/libvirt/qemu.conf 2>/dev/null | tail -n 1) libvirt-qemu qemu; do
  group=$(id -g "$user" 2>/dev/null) || continue
  set -- setpriv --reuid "$user" --regid "$group" --init-groups
  "$@" true 2>/dev/null && break # busybox has a setpriv that knows no users
  set --
done
# mov dx,0x3f8; mov al,'K'; out dx,al; mov dx,0xf4; xor al,al; out dx,al; hlt; then zeros up to the 0x55AA mark
{
  printf '\272\370\003\260\113\356\272\364\000\060\300\356\364'
  head -c 497 /dev/zero
  printf '\125\252'
} >"$place/sector"
[ $# -eq 0 ] || chown "$user" "$place/sector"
# QEMU's own complaints are full of the letter K ("failed to initialize kvm", "KVM kernel module"): another file.
said=$(timeout 15 "$@" "$qemu" -accel "$accelerator" -m 32 -display none -nodefaults -no-reboot -serial stdio \
  -drive "file=$place/sector,format=raw,if=ide" -device isa-debug-exit,iobase=0xf4,iosize=1 \
  2>"$place/complaint" </dev/null | tr -d '\0')
case $said in
  K) echo "kvm works $accelerator" ;;
  *)
    complaint=$(tr -s '\n' ' ' <"$place/complaint" | head -c 300)
    echo "kvm fails ${complaint:-the probe guest said nothing within 15 s}"
    ;;
esac

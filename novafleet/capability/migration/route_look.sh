# What a host offers to the data path of a migration, as NAME VALUE lines; changes nothing. Runs as the login user.
# shellcheck shell=sh
# $@ libvirt's sockets, the best first
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
echo "login $(id -un)"
echo "uid $(id -u)"
echo "groups $(id -nG)"
echo "home $HOME"
# client address, client port, server address, server port: the address under which this sshd was reached
echo "reached ${SSH_CONNECTION:-}"
for program in ssh ssh-keygen systemd-run; do
  if command -v "$program" >/dev/null; then echo "has $program"; fi
done
[ ! -d /run/systemd/system ] || echo "has systemd"
for socket do
  if [ -S "$socket" ] && [ -w "$socket" ]; then echo "socket $socket"; break; fi
done
for key in /etc/ssh/ssh_host_*_key.pub; do
  if [ -r "$key" ]; then echo "hostkey $(cut -d ' ' -f 1,2 "$key")"; fi
done
for kind in qemu libvirt; do
  if [ -e "/etc/pki/$kind/ca-cert.pem" ] || [ -e "/etc/pki/CA/cacert.pem" ]; then echo "ca $kind"; fi
  if [ -e "/etc/pki/$kind/server-cert.pem" ]; then echo "certificate $kind"; fi
done
# Post-copy needs faults of the guest's memory handed to QEMU, whose user is not root (kernel: vm.unprivileged_userfaultfd)
allowed=/proc/sys/vm/unprivileged_userfaultfd
if [ ! -e "$allowed" ] || [ "$(cat "$allowed")" = 1 ]; then echo "has userfaultfd"; fi
case $(stat -c %a /dev/userfaultfd 2>/dev/null) in *[67]) echo "has /dev/userfaultfd" ;; esac
ss -Hltn 2>/dev/null | while read -r _ _ _ address _; do echo "taken ${address##*:}"; done

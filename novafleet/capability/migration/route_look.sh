# What a host offers to the data path of a migration, as NAME VALUE lines; changes nothing. Runs as the login user.
# shellcheck shell=sh
# $@ libvirt's sockets, the best first
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
printf 'login ' && id -un
printf 'uid ' && id -u
printf 'groups ' && id -nG
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
  if [ -r "$key" ] && read -r kind public _ <"$key"; then echo "hostkey $kind $public"; fi
done
# Where libvirt sends QEMU for a migration: the first of these that is there (qemu.conf, migrate_tls_x509_cert_dir)
pki=/etc/pki/libvirt-migrate
[ -d "$pki" ] || pki=/etc/pki/qemu
if [ -e "$pki/ca-cert.pem" ] && [ -e "$pki/server-cert.pem" ] && [ -e "$pki/client-cert.pem" ]; then echo "tls $pki"; fi
# Post-copy needs faults of the guest's memory handed to QEMU, whose user is not root (kernel: vm.unprivileged_userfaultfd)
allowed=/proc/sys/vm/unprivileged_userfaultfd
if [ ! -e "$allowed" ] || { read -r word <"$allowed" && [ "$word" = 1 ]; }; then echo "has userfaultfd"; fi
case $(stat -c %a /dev/userfaultfd 2>/dev/null) in *[67]) echo "has /dev/userfaultfd" ;; esac
ss -Hltn 2>/dev/null | while read -r _ _ _ address _; do echo "taken ${address##*:}"; done

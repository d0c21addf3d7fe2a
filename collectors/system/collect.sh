#!/bin/sh
# Prints `key value` lines about the host itself.
fact() { printf '%s %s\n' "$1" "$2"; }
first_line() { [ -r "$1" ] && IFS= read -r line <"$1" && printf '%s' "$line"; }

fact kernel "$(uname -r)"
fact arch "$(uname -m)"
fact hostname "$(uname -n)"
fact boot_id "$(first_line /proc/sys/kernel/random/boot_id)"
fact machine_id "$(first_line /etc/machine-id)"
fact clock "$(date +%s)"
fact cpus "$(grep -c '^processor' /proc/cpuinfo)"
fact user "$(id -un)"
fact uid "$(id -u)"
while read -r key value _; do
  case $key in
    MemTotal:) fact memory_total_kib "$value" ;;
    MemAvailable:) fact memory_available_kib "$value" ;;
  esac
done </proc/meminfo
[ -r /var/lib/novafleet/maintenance ] && fact maintenance "$(first_line /var/lib/novafleet/maintenance)"
[ -r /etc/os-release ] && sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/os \1/p' /etc/os-release
if [ -c /dev/kvm ]; then fact kvm_device yes; else fact kvm_device no; fi
grep -q -m1 -E '^flags.* (vmx|svm)( |$)' /proc/cpuinfo && fact cpu_virtualization yes
for tool in virsh qemu-img curl wget flock nc socat sha256sum docker podman genisoimage systemd-run; do
  path=$(command -v "$tool") && fact "tool.$tool" "$path"
done
for bridge in /sys/class/net/*/bridge; do
  [ -d "$bridge" ] || continue
  bridge=${bridge%/bridge}
  fact bridge "${bridge##*/}"
done
for lease in /run/lock/novafleet/*.lease; do
  [ -r "$lease" ] || continue
  IFS=' ' read -r epoch _ <"$lease"
  name=${lease##*/}
  fact "lease.${name%.lease}" "$epoch"
done
ip -o -4 address show scope global 2>/dev/null | while read -r _ interface _ address _; do
  fact subnet "$address $interface"
done

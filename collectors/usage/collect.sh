#!/bin/sh
# What guests use: their CPU time twice, a second apart, and what kind of CPU the host has. Planning moves needs it.
mark=${MARK:-@@}
export LIBVIRT_DEFAULT_URI=qemu:///system
command -v virsh >/dev/null || exit 0
sed -n -e 's/^vendor_id[^:]*: /vendor /p' -e 's/^cpu family[^:]*: /family /p' -e 's/^model\t[^:]*: /model /p' \
  -e '/^processor[^:]*: 1$/q' /proc/cpuinfo | sort -u
printf 'flags %s\n' "$(sed -n '/^flags/{p;q;}' /proc/cpuinfo | cksum | cut -d ' ' -f 1)"
sample() {
  printf '%s at %s\n' "$mark" "$(date +%s.%N)"
  virsh -q domstats --state --cpu-total 2>/dev/null
}
sample
sleep 1
sample

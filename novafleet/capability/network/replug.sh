#!/bin/sh
# Puts the taps of running guests back into the bridge of a network ($1) that was stopped and started under them.
# libvirt does not: it plugs a tap in only when the guest starts.
set -u
command -v virsh >/dev/null || exit 0
bridge=$(virsh -q -c qemu:///system net-info "$1" | sed -n 's/^Bridge: *//p')
[ -n "$bridge" ] || exit 0
for domain in $(virsh -q -c qemu:///system list --uuid); do
  virsh -q -c qemu:///system domiflist "$domain"
done | while read -r tap kind network _; do
  [ "$kind/$network" = "network/$1" ] || continue
  [ "$tap" = - ] && continue
  [ -e "/sys/class/net/$bridge/brif/$tap" ] && continue
  ip link set dev "$tap" master "$bridge" && ip link set dev "$tap" up && echo "$tap"
done

# The addresses of a guest, from whoever knows them: its agent, the DHCP server, the neighbours.
# shellcheck shell=sh
# $1 domain
for source in agent lease arp; do
  virsh -q -c qemu:///system domifaddr "$1" --source "$source" 2>/dev/null
done
exit 0

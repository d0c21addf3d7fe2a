#!/bin/sh
# What guests use: the CPU time of each QEMU twice, a second apart, and what kind of CPU the host has. Planning moves
# needs it. From /proc: libvirt 11.3 (domstats --cpu-total) waits without end for a QEMU that does not answer.
mark=${MARK:-@@}
sed -n -e 's/^vendor_id[^:]*: /vendor /p' -e 's/^cpu family[^:]*: /family /p' -e 's/^model\t[^:]*: /model /p' \
  -e '/^processor[^:]*: 1$/q' /proc/cpuinfo | sort -u
printf 'flags %s\n' "$(sed -n '/^flags/{p;q;}' /proc/cpuinfo | cksum | cut -d ' ' -f 1)"
printf 'ticks %s\n' "$(getconf CLK_TCK 2>/dev/null)"
sample() {
  printf '%s at %s\n' "$mark" "$(date +%s.%N)"
  for file in /run/libvirt/qemu/*.pid; do
    pid='' name=${file##*/}
    { read -r pid <"$file"; } 2>/dev/null # its line has no end, which read calls a failure
    { IFS= read -r stat <"/proc/${pid:-none}/stat"; } 2>/dev/null || continue
    # shellcheck disable=SC2086 # fields 14 and 15 of stat, the second (in parentheses) left out (proc(5))
    set -- ${stat##*) }
    printf '%s %s\n' "$((${12} + ${13}))" "${name%.pid}"
  done
}
sample
sleep 1
sample

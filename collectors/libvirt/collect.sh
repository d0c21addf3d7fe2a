#!/bin/sh
# Everything libvirt knows: one virsh process lists, another dumps all definitions in batches.
# Frames are `MARK kind name …`; text follows a frame up to the next. virsh's echo ends without a newline,
# hence the space at the end of each mark and the reading of the lists word by word.
set -f
mark=${MARK:-@@}
export LIBVIRT_DEFAULT_URI=qemu:///system
command -v virsh >/dev/null || { echo "$mark error no-virsh"; exit 0; }
list="echo '$mark running '; list --uuid; echo '$mark domains '; list --all --uuid; echo '$mark autostart '; list --all --autostart --uuid"
list="$list; echo '$mark saved '; list --all --with-managed-save --uuid"
list="$list; echo '$mark networks '; net-list --all --uuid; echo '$mark net-active '; net-list --uuid; echo '$mark net-autostart '; net-list --all --autostart --uuid"
list="$list; echo '$mark pools '; pool-list --all --name; echo '$mark version '; version; echo '$mark capabilities '; capabilities"
lists=$(virsh -q "$list" 2>&1) || {
  echo "$mark error libvirt"
  printf '%s\n' "$lists" | sed -n -e '/failed to connect to the hypervisor$/d' -e 's/^.*error: //p' | sort -u
  exit 0
}
printf '%s\n' "$lists"

batch=''
length=0
flush() {
  [ -z "$batch" ] || virsh -q "$batch" 2>&1
  batch=''
  length=0
}
# While a call waits for a QEMU that does not answer (5 s and more), libvirt 11.3 tells that domain's definition after
# half a minute only: it is in a file.
stuck=''
find_stuck() {
  stuck=$(virsh -q "$control" 2>&1 | sed -n -e 's/^\([0-9a-f-]\{36\}\) occupied ([5-9][.].*/\1/p' \
    -e 's/^\([0-9a-f-]\{36\}\) occupied ([0-9][0-9].*/\1/p')
  control=''
}
tell_stuck() {
  file=$(find /etc/libvirt/qemu -maxdepth 1 -name '*.xml' -exec grep -lF "<uuid>$1</uuid>" {} + 2>/dev/null)
  [ -n "$file" ] || return # it is transient
  flush
  printf '%s domain %s %s (no answer)\n' "$mark" "$1" "$(virsh -q domstate "$1" 2>&1)"
  sed -n "/^<domain/,\$ s/ passwd='[^']*'//; /^<domain/,\$ p" "$file"
}
control=''
section=''
for word in $lists; do
  if [ "$word" = "$mark" ]; then
    section=next
    continue
  fi
  case $section in
    next) section=$word; continue ;;
    running) control="$control echo '$word '; domcontrol $word;"; continue ;;
    domains)
      [ -z "$control" ] || find_stuck
      case $stuck in *"$word"*) ! tell_stuck "$word" || continue ;; esac
      batch="$batch echo '$mark domain $word '; domstate --reason $word; dumpxml --inactive $word;"
      ;;
    networks) batch="$batch echo '$mark network $word '; net-dumpxml --inactive $word;" ;;
    pools)
      case $word in *[!A-Za-z0-9._-]*) continue ;; esac
      batch="$batch echo '$mark pool $word '; pool-info --bytes $word; pool-dumpxml $word;"
      ;;
    *) continue ;;
  esac
  length=$((length + 1))
  [ "$length" -lt 300 ] || flush
done
flush
echo "$mark end"

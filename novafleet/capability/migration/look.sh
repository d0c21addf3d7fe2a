# Describes one host for a migration; changes nothing.
# shellcheck shell=sh
# $1 mark that begins each answer  $2 the domain's name, or empty  $3 how many directories  $4 how many files follow;
# then the directories, the files, and for each disk FORMAT PATH.
# Out: "MARK kvm yes|no", "MARK swtpm yes|no", "MARK lock NAME", "MARK flags …", "MARK mtu BYTES DEVICE",
# "MARK resident KIB", "MARK room N BYTES", "MARK file N INODE SIZE SHA256|-" (only what is there) and for each disk
# "MARK disk N STATUS" followed by what qemu-img says: JSON, or words if STATUS. N counts from 0.
mark=$1 domain=$2 directories=$3 files=$4
shift 4
small=268435456 # bytes up to which a digest is computed rather than looked up

tells() { echo "$mark $*"; }
yes_if() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }

tells kvm "$(yes_if test -c /dev/kvm)"
tells swtpm "$(yes_if command -v swtpm)"
tells lock "$(sed -n 's/^[[:space:]]*lock_manager[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' /etc/libvirt/qemu.conf 2>/dev/null | tail -n 1)"
tells flags "$(sed -n -e '/^flags[[:space:]]*:/{s/.*: *//p;q;}' -e '/^Features[[:space:]]*:/{s/.*: *//p;q;}' /proc/cpuinfo)"
for device in /sys/class/net/*/mtu; do
  name=${device%/mtu}
  [ ! -r "$device" ] || tells mtu "$(cat "$device")" "${name##*/}"
done
if [ -n "$domain" ]; then
  pid=$(cat "/run/libvirt/qemu/$domain.pid" 2>/dev/null)
  tells resident "$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/${pid:-none}/status" 2>/dev/null)"
fi

number=0
while [ "$number" -lt "$directories" ]; do
  [ ! -d "$1" ] || tells room "$number" "$(stat -f -c '%a %S' -- "$1" | (read -r blocks size && echo $((blocks * size))))"
  number=$((number + 1))
  shift
done

digest() {
  if [ -r "$1.sha256" ]; then
    sed -n '1s/^\([0-9a-f]\{64\}\).*/\1/p' "$1.sha256"
  elif [ -f "$1" ] && [ "$2" -le "$small" ]; then
    sha256sum <"$1" | cut -c 1-64
  fi
}
number=0
while [ "$number" -lt "$files" ]; do
  if [ -e "$1" ]; then
    size=$(stat -L -c %s -- "$1")
    [ ! -d "$1" ] || size=$(du -sb -- "$1" | cut -f 1)
    sum=-
    case $1 in *.qcow2 | *.raw | *.nf-????????) ;; *) sum=$(digest "$1" "$size") ;; esac
    tells file "$number" "$(stat -L -c %i -- "$1")" "$size" "${sum:--}"
  fi
  number=$((number + 1))
  shift
done

number=0
while [ $# -gt 1 ]; do
  # -U: a running guest holds the image's lock. The format is named: a raw disk's first bytes are the guest's choice.
  said=$(qemu-img info -U --backing-chain --output=json -f "$1" -- "$2" 2>&1)
  tells disk "$number" $?
  echo "$said"
  number=$((number + 1))
  shift 2
done

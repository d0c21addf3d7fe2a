# Describes one host for a migration; changes nothing.
# shellcheck shell=sh
# $1 mark that begins each answer  $2 the domain's name, or empty  $3 how many directories  $4 how many files follow;
# then the directories, the files, and for each disk FORMAT PATH.
# Out: "MARK kvm yes|no", "MARK swtpm yes|no", "MARK lock NAME", "MARK flags …", "MARK mtu BYTES DEVICE",
# "MARK resident KIB", "MARK room N BYTES", "MARK file N INODE SIZE SHA256|-" (only what is there; no digest of
# disks, nor of what packages brought) and for each disk "MARK disk N STATUS" followed by what qemu-img says: JSON, or words if STATUS. N counts from 0.
mark=$1 domain=$2 directories=$3 files=$4
shift 4
small=268435456 # bytes up to which a digest is computed rather than looked up

tells() { echo "$mark $*"; }
# Nothing here forks without need: a busy host takes 10 ms and more for each process.
tells_if() {
  kind=$1
  shift
  if "$@" >/dev/null 2>&1; then tells "$kind" yes; else tells "$kind" no; fi
}

tells_if kvm test -c /dev/kvm
tells_if swtpm command -v swtpm
tells lock "$(sed -n 's/^[[:space:]]*lock_manager[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' /etc/libvirt/qemu.conf 2>/dev/null | tail -n 1)"
tells flags "$(sed -n -e '/^flags[[:space:]]*:/{s/.*: *//p;q;}' -e '/^Features[[:space:]]*:/{s/.*: *//p;q;}' /proc/cpuinfo)"
for device in /sys/class/net/*/mtu; do
  name=${device%/mtu}
  if [ -r "$device" ] && read -r mtu <"$device"; then tells mtu "$mtu" "${name##*/}"; fi
done
if [ -n "$domain" ]; then
  pid=
  [ ! -r "/run/libvirt/qemu/$domain.pid" ] || read -r pid <"/run/libvirt/qemu/$domain.pid"
  tells resident "$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/${pid:-none}/status" 2>/dev/null)"
fi

number=0
while [ "$number" -lt "$directories" ]; do
  if [ -d "$1" ] && room=$(stat -f -c '%a %S' -- "$1"); then
    tells room "$number" "$((${room% *} * ${room#* }))"
  fi
  number=$((number + 1))
  shift
done

digest() { # PATH BYTES: $sum is its content's, or - where that is not known
  sum=
  if [ -r "$1.sha256" ]; then
    read -r sum <"$1.sha256"
  elif [ -f "$1" ] && [ "$2" -le "$small" ]; then
    sum=$(sha256sum <"$1")
  fi
  sum=${sum%%[!0-9a-f]*}
  [ ${#sum} = 64 ] || sum=-
}
number=0
while [ "$number" -lt "$files" ]; do
  if [ -e "$1" ]; then
    seen=$(stat -L -c '%i %s' -- "$1")
    size=${seen#* }
    [ ! -d "$1" ] || size=$(du -sb -- "$1" | cut -f 1)
    sum=-
    case $1 in *.qcow2 | *.raw | *.nf-???????? | /usr/*) ;; *) digest "$1" "$size" ;; esac
    tells file "$number" "${seen% *}" "$size" "$sum"
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

# Describes the disk images of one VM and the room for what their backup needs; changes nothing.
# shellcheck shell=sh
# $1 mark that begins each answer  $2 QEMU's own directory of the running domain, or empty
# $3 … TARGET FORMAT PATH SCRATCH-DIRECTORY of each disk; PATH is empty for one that is no file or device
# Out: "MARK home DIRECTORY" (that one, or what it should be in), then for each disk
# "MARK disk TARGET STATUS FREE TOTAL" (bytes where its scratch goes) and what qemu-img says: JSON, or words if STATUS.
mark=$1 home=$2
shift 2

room() {
  blocks=$(stat -f -c '%a %b %S' "$1" 2>/dev/null) || blocks='0 0 0'
  # shellcheck disable=SC2086
  set -- $blocks
  echo $(($1 * $3)) $(($2 * $3))
}

[ -d "$home" ] || home=${home%/*}
echo "$mark home $home"
while [ $# -gt 3 ]; do
  said='[]' status=0
  if [ -n "$3" ]; then
    # -U: a running guest holds the image's lock. The format is named: a raw disk's first bytes are the guest's choice.
    said=$(qemu-img info -U --backing-chain --output=json -f "$2" "$3" 2>&1)
    status=$?
  fi
  echo "$mark disk $1 $status $(room "$4")"
  echo "$said"
  shift 4
done

# Describes the images of one VM's disks, what lies beside them, and the room there; changes nothing.
# shellcheck shell=sh
# $1 mark that begins each answer  $2 how many paths of UEFI variables and TPM state follow, then the disks' own images
# Out: "MARK stem SIZE ALLOCATED PATH", "MARK free BYTES DIRECTORY", "MARK beside ALLOCATED PATH" (saved memory, copied
# variables), and for each overlay "MARK overlay ALLOCATED PATH", its mark of a merge, and what qemu-img says of it.
mark=$1 extras=$2
shift 2

allocated() { stat -c '%b %B' -- "$1" | (read -r blocks size && echo $((blocks * size))); }

beside() {
  for file; do
    [ ! -e "$file" ] || echo "$mark beside $(allocated "$file") $file"
  done
}

while [ "$extras" -gt 0 ]; do
  beside "$1".nf-????????
  extras=$((extras - 1))
  shift
done
for stem; do
  directory=${stem%/*}
  [ ! -d "$directory" ] ||
    echo "$mark free $(stat -f -c '%a %S' -- "$directory" | (read -r blocks size && echo $((blocks * size)))) $directory"
  [ ! -f "$stem" ] || echo "$mark stem $(stat -c %s -- "$stem") $(allocated "$stem") $stem"
  for file in "$stem".nf-????????; do
    [ -f "$file" ] || continue
    echo "$mark overlay $(allocated "$file") $file"
    if [ -f "$file.merge" ]; then head -n 1 -- "$file.merge"; else echo; fi
    # -U: a running guest holds the image's lock.
    qemu-img info -U --output=json -f qcow2 -- "$file" || exit
  done
  beside "$stem".nf-????????.mem
done

# Removes what a backup left on a host beside checkpoints (nothing there is fine), and makes the folder of the next.
# shellcheck shell=sh
# $1 the domain's UUID  $2 directory of these backups  $3 … directories that may hold scratch files
# Out: "frozen" when nobody has thawed the guest yet.
uuid=$1 folder=$2
shift 2
if systemctl -q is-active "nf-thaw-$uuid.timer"; then echo frozen; fi
systemctl stop "nf-guard-$uuid.service" "nf-read-$uuid-*.service" 2>/dev/null
for directory; do
  rm -f -- "$directory/.nf-$uuid-"*.scratch
done
rm -rf -- "${folder:?}/$uuid"
mkdir -p "$folder/$uuid" && chmod 700 "$folder" "$folder/$uuid"

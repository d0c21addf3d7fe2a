# Removes what a backup left on a host beside checkpoints (nothing there is fine), and makes the folder of the next:
# as long as that is there, there may be something to remove. A restart of the host takes all but scratch files.
# shellcheck shell=sh
# $1 the domain's UUID  $2 directory of these backups  $3 … directories that may hold scratch files
# Out: "frozen" when nobody has thawed the guest yet.
uuid=$1 folder=$2/$1
shift 2
if [ -d "$folder" ]; then
  if systemctl -q is-active "nf-thaw-$uuid.timer"; then echo frozen; fi
  systemctl stop "nf-guard-$uuid.service" "nf-read-$uuid-*.service" 2>/dev/null
  rm -rf -- "$folder"
fi
for directory; do
  rm -f -- "$directory/.nf-$uuid-"*.scratch
done
mkdir -p "$folder" && chmod 700 "${folder%/*}" "$folder"

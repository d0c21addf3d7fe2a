# Lets one key in for one forwarding connection; the line expires by itself in two minutes. Runs as the login user.
# shellcheck shell=sh
# $1 job  $2 public key  $3... options, each OPTION="VALUE"
set -eu
job=$1 key=$2
shift 2
options=restrict,port-forwarding,command=\"/bin/false\"
for option do options=$options,$option; done
expiry=$(date -d '120 seconds' +%Y%m%d%H%M%S)
folder=$HOME/.ssh file=$HOME/.ssh/authorized_keys
umask 077
if [ ! -d "$folder" ] && mkdir "$folder" 2>/dev/null; then : >"$folder/.novafleet-made"; fi
exec 9<"$folder"
flock 9 # other jobs change the file too
if [ ! -e "$file" ]; then
  : >"$folder/.novafleet-new"
  : >"$file"
fi
next=$folder/.novafleet-$job-next
cp -p -- "$file" "$next"
{ printf '%s,expiry-time="%s" %s novafleet-migrate-%s\n' "$options" "$expiry" "$key" "$job"; cat -- "$file"; } >"$next"
mv -f -- "$next" "$file"

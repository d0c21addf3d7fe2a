#!/bin/sh
# Installs the quadlets of bundle $1 as those of project $2 and starts their units; $3 `recreate` restarts them.
set -eu
# A container that does not mind SIGTERM leaves a failed service.
end() { systemctl stop "$1" || :; systemctl reset-failed "$1" 2>/dev/null || :; }
bundle=$1 project=$2 verb=start
[ "$3" = recreate ] && verb=restart
target=/etc/containers/systemd/$project
rm -rf -- "$target.new"
mkdir -p -- "${target%/*}"
mkdir -m 700 -- "$target.new"
units=''
for file in "$bundle"/* "$bundle"/.[!.]*; do
  [ -f "$file" ] || continue
  name=${file##*/}
  case $name in .novafleet.json | .*.part) continue ;; esac
  cp -p -- "$file" "$target.new/"
  case $name in
    *.container) units="$units ${name%.container}.service" ;;
    *.kube) units="$units ${name%.kube}.service" ;;
  esac
done
for file in "$target"/*; do
  name=${file##*/}
  [ ! -e "$target.new/$name" ] || continue
  case $name in # what left the bundle would run on
    *.container | *.kube) end "${name%.*}.service" ;;
    *.pod | *.network | *.volume | *.image | *.build) end "${name%.*}-${name##*.}.service" ;;
  esac
done
rm -rf -- "$target"
mv -- "$target.new" "$target"
systemctl daemon-reload
# shellcheck disable=SC2086 # unit names are words
systemctl "$verb" $units

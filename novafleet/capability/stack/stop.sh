#!/bin/sh
# Removes the containers, pods and networks of project $2 from engine $1, found by their label: it needs neither the
# bundle nor a Compose command. $3 is `volumes` to remove its volumes too, $4 the stack's kind, $5 its bundle.
# A second time it finds nothing, which is fine.
set -u
engine=$1 project=$2 volumes=$3 kind=$4 bundle=$5
label=com.docker.compose.project=$project
quadlets=/etc/containers/systemd/$project
listed() { "$engine" "$@" --filter "label=$label"; }
# A container that does not mind SIGTERM leaves a failed service.
end() { systemctl stop "$1"; systemctl reset-failed "$1" 2>/dev/null; }
command -v "$engine" >/dev/null || { echo "$engine is not installed any more" >&2; exit 1; }

if [ -d "$quadlets" ]; then
  # Networks last, and volumes: their units count as active ever after and would not make them again.
  for file in "$quadlets"/*.container "$quadlets"/*.kube "$quadlets"/*.pod \
    "$quadlets"/*.network "$quadlets"/*.volume; do
    [ -f "$file" ] || continue
    name=${file##*/}
    case $name in
      *.container | *.kube) end "${name%.*}.service" ;;
      *) end "${name%.*}-${name##*.}.service" ;;
    esac
  done
fi
mounted=''
if [ "$kind" = kube ]; then
  for id in $(listed ps -aq); do
    names=$("$engine" container inspect --format '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}' "$id")
    mounted="$mounted $names"
  done
  [ -f "$bundle/.novafleet.kube.yaml" ] && "$engine" kube down "$bundle/.novafleet.kube.yaml" >/dev/null 2>&1
fi
# shellcheck disable=SC2046,SC2086 # ids and volume names are words
{
  # In the order of its dependencies, where Compose is there to know it.
  [ "$engine" = docker ] && docker compose version >/dev/null 2>&1 && docker compose -p "$project" stop >/dev/null 2>&1
  ids=$(listed ps -aq)
  [ -z "$ids" ] || "$engine" stop $ids >/dev/null 2>&1
  if [ "$engine" = podman ]; then
    pods=$(listed pod ps -q)
    [ -z "$pods" ] || podman pod rm -f $pods >/dev/null
  fi
  ids=$(listed ps -aq)
  [ -z "$ids" ] || "$engine" rm -f -v $ids >/dev/null
  ids=$(listed network ls -q)
  [ -z "$ids" ] || "$engine" network rm $ids >/dev/null
  if [ "$volumes" = volumes ]; then
    ids=$(listed volume ls -q)
    [ -z "$ids" ] || "$engine" volume rm -f $ids >/dev/null
    [ -z "$mounted" ] || "$engine" volume rm $mounted >/dev/null 2>&1
  fi
}
if [ -d "$quadlets" ]; then
  rm -rf -- "$quadlets"
  systemctl daemon-reload
fi
[ -z "$(listed ps -aq)" ]

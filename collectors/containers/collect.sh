#!/bin/sh
# Engines, the commands of theirs that can run a stack, the containers that carry a project label (of each only what
# is asked for below: environments hold secrets), and the stacks NovaFleet keeps. The engines are asked side by side.
mark=${MARK:-@@}
label=com.docker.compose.project
# Podman's templates use its own field names; the JSON made of them has Docker's.
common='"Name":{{json .Name}},"State":{{json .State}},"HostConfig":{"RestartPolicy":{{json .HostConfig.RestartPolicy}}}'
docker_form='{"Id":{{json .Id}},'$common',"Config":{"Image":{{json .Config.Image}},"Labels":{{json .Config.Labels}}}}'
podman_form='{"Id":{{json .ID}},'$common',"IsInfra":{{json .IsInfra}},"Config":{"Image":{{json .ImageName}},"Labels":{{json .Config.Labels}}}}'

# An engine that hangs is as good as one that is stopped: VMs of its host go on.
ask() { timeout -k 1 12 "$@" 2>/dev/null; }

containers() {
  ids=$(ask "$1" ps -aq --filter "label=$label") || {
    echo "$mark silent $1"
    return 0
  }
  [ -n "$ids" ] || return 0
  echo "$mark inspect $1"
  # shellcheck disable=SC2086 # ids are hexadecimal words
  ask "$1" container inspect --format "$2" $ids
  # One that went meanwhile is left out by the engine, which then fails.
  [ $? -lt 124 ] || echo "$mark silent $1"
}

# A plugin's file is evidence enough; asking Compose itself for its version costs more than all the rest.
has_compose() {
  for folder in "${HOME:-/root}/.docker" /usr/local/lib/docker /usr/local/libexec/docker /usr/lib/docker /usr/libexec/docker; do
    [ -x "$folder/cli-plugins/docker-compose" ] && return
  done
  docker compose version >/dev/null 2>&1
}

# `docker` may be Podman under another name, which knows no MinAPIVersion and fails.
of_docker() {
  if ! version=$(ask docker version --format '{{.Server.Version}} {{.Server.MinAPIVersion}}'); then
    case $(docker --version 2>/dev/null) in Docker*) echo "$mark silent docker" ;; esac
    return
  fi
  echo "$mark engine docker ${version% *}"
  has_compose && echo "$mark compose docker docker compose"
  command -v docker-compose >/dev/null && echo "$mark compose docker docker-compose"
  containers docker "$docker_form"
}

of_podman() {
  version=$(ask podman --version) || return 0
  version=${version##* }
  echo "$mark engine podman $version"
  command -v podman-compose >/dev/null && echo "$mark compose podman podman-compose"
  case $version in
    [0-3].* | 4.[01].*) ;;
    *) echo "$mark compose podman podman kube play" ;;
  esac
  for generator in /usr/lib/systemd/system-generators /usr/local/lib/systemd/system-generators; do
    [ -x "$generator/podman-system-generator" ] && echo "$mark compose podman quadlet"
  done
  containers podman "$podman_form"
}

command -v podman >/dev/null && of_podman &
found=''
command -v docker >/dev/null && found=$(of_docker)
wait
[ -z "$found" ] || printf '%s\n' "$found"

for record in /var/lib/novafleet/stacks/*/.novafleet.json; do
  [ -r "$record" ] || continue
  echo "$mark stack ${record%/.novafleet.json}"
  cat "$record"
  echo
done
echo "$mark end"

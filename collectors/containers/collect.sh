#!/bin/sh
# Engines, the Compose commands that really answer, NovaFleet's stacks and the containers that carry a project label.
mark=${MARK:-@@}
engine() {
  command -v "$1" >/dev/null || return 0
  version=$("$1" version --format '{{.Server.Version}}' 2>/dev/null) || version=$("$1" version --format '{{.Client.Version}}' 2>/dev/null) || return 0
  echo "$mark engine $1 $version"
  ids=$("$1" ps -aq --filter "label=$2" 2>/dev/null)
  [ -n "$ids" ] || return 0
  echo "$mark inspect $1"
  # shellcheck disable=SC2086 # ids are hexadecimal words
  "$1" inspect $ids 2>/dev/null
}
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  docker compose version >/dev/null 2>&1 && echo "$mark compose docker docker compose"
  command -v docker-compose >/dev/null && echo "$mark compose docker docker-compose"
  engine docker com.docker.compose.project
fi
if command -v podman >/dev/null; then
  command -v podman-compose >/dev/null && echo "$mark compose podman podman-compose"
  engine podman com.docker.compose.project
fi
for record in /var/lib/novafleet/stacks/*/.novafleet.json; do
  [ -r "$record" ] || continue
  echo "$mark stack ${record%/.novafleet.json}"
  cat "$record"
done
echo "$mark end"

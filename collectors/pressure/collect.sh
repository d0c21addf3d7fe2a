#!/bin/sh
# Prints how long tasks waited for CPU, memory and I/O, and the load.
for resource in cpu memory io; do
  [ -r "/proc/pressure/$resource" ] && sed "s/^/$resource /" "/proc/pressure/$resource"
done
IFS= read -r load </proc/loadavg && printf 'load %s\n' "$load"

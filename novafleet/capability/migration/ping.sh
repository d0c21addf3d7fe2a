# Asks an address every 10 ms, saying when each answer came, until we are ended. Runs as root: others may not so often.
# shellcheck shell=sh
# $1 address
exec ping -n -D -i 0.01 -W 1 "$1"

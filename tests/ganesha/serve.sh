#!/bin/sh
# NFSv3 is found through rpcbind.
set -eu
rpcbind -w
mkdir -p /export/fixed /var/run/ganesha
exec ganesha.nfsd -F -L /dev/stdout -f /ganesha.conf -p /var/run/ganesha/ganesha.pid

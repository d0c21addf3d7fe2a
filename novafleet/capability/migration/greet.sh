# Has this host ask guests that have just arrived for their addresses, and so tell them its own.
# shellcheck shell=sh
# $1 address  $2 its MAC  $3 the bridge, and so on
while [ $# -ge 3 ]; do
  case $(ip route get "$1" 2>/dev/null) in
    *" via "*) ;;
    *" dev $3 "*) ip neigh replace "$1" lladdr "$2" dev "$3" nud probe ;;
  esac
  shift 3
done
exit 0

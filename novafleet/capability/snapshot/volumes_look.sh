# Describes what is kept of the volumes of stacks; changes nothing.
# shellcheck shell=sh
# $1 mark that begins each answer  $2 … folders of stacks
# Out: "MARK snapshot SECONDS FOLDER" followed by when its containers stood still, and what is remembered of it; "MARK
# volume BYTES NAME" for each of its volumes; "MARK part FOLDER" for what was cut off.
mark=$1
shift
for folder; do
  for each in "$folder"/*; do
    case $each in *.part) echo "$mark part $each" && continue ;; esac
    [ -f "$each/note" ] || continue
    echo "$mark snapshot $(stat -c %Y -- "$each/note") $each"
    cat -- "$each/held" "$each/note"
    echo
    for tar in "$each"/*.tar; do
      [ ! -f "$tar" ] || {
        name=${tar##*/}
        echo "$mark volume $(stat -c '%b %B' -- "$tar" | (read -r blocks size && echo $((blocks * size)))) ${name%.tar}"
      }
    done
  done
done

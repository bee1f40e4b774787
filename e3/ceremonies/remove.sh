#!/bin/sh
# Remove the shares of a key: sh remove.sh SHARES PURPOSE CODE
#
# With the last key, remove the host's own key, its log and the program as well. Files are
# overwritten first, which helps on disks that write in place, and nowhere else.
set -eu
if [ -d "$1/$2" ]; then
    for file in "$1/$2"/* "$1/$2"/.*; do
        [ -f "$file" ] || continue
        size=$(wc -c <"$file")
        head -c "$size" /dev/zero | dd of="$file" conv=notrunc,fsync 2>/dev/null || true
    done
fi
rm -rf "${1:?}/${2:?}"
for other in "$1"/*/; do
    [ ! -d "$other" ] || exit 0
done
rm -rf "$1" "$3"

#!/bin/sh
# Makes the tokens of the admin endpoint, once: tokens.sh FILE...
# Each is 32 hexadecimal digits, for whoever the volume that it lies in is mounted for.
set -eu
umask 022
for file in "$@"; do
    [ -s "$file" ] && continue
    tr -dc 0-9a-f </dev/urandom | head -c 32 >"$file.new"
    mv "$file.new" "$file"
done

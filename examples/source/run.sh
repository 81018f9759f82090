#!/bin/sh
# Runs a program that has a source of its own beside a room. When that source fails,
# its last known value stays, and the room goes on as before. Nothing is left behind.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null || :; wait; rm -rf "$tmp"' EXIT
(cd "$here/../.." && go build -o "$tmp/roomenv" ./cmd/roomenv && go build -o "$tmp/source" ./examples/source)
export PATH="$tmp:$PATH"

# A room on the network, with a token for it.
mkfifo "$tmp/address" "$tmp/steps"
roomenv room serve --listen 127.0.0.1:0 --data "$tmp/room" >"$tmp/address" &
pids=$!
read -r word url <"$tmp/address"
MESHAGENT_TOKEN=$(roomenv room token --data "$tmp/room" --room demo --identity agent)
export MESHAGENT_TOKEN MESHAGENT_ROOM=demo MESHAGENT_ROOM_URL="$url"

# Files are replaced, not written in place: readers see the old one or the new one.
greet() { printf '%s\n' "$1" >"$tmp/new" && mv "$tmp/new" "$tmp/files/greeting"; }
expect() {
	read -r line <&3
	echo "$line"
	[ "$line" = "$1" ] || { echo "want $1" >&2; exit 1; }
}
mkdir "$tmp/files"
greet hello
printf %s alice | roomenv secret set name --from-file -

"$tmp/source" "$here/.env.room" "$tmp/files" >"$tmp/steps" &
pids="$pids $!"
exec 3<"$tmp/steps"
expect 'revision 1: hello, alice!'
greet 'good morning'
expect 'revision 2: good morning, alice!'
ln -s greeting "$tmp/loop" && mv "$tmp/loop" "$tmp/files/greeting" # which cannot be read
sleep 0.5 # for a few polls
printf %s bob | roomenv secret set name --from-file -
expect 'revision 3: good morning, bob!'
greet 'good evening'
expect 'revision 4: good evening, bob!'

#!/bin/sh
# Runs a program that keeps a function current with a secret while it is rotated. A value
# that the function refuses is rolled back. Nothing is left behind.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null || :; wait; rm -rf "$tmp"' EXIT
(cd "$here/../.." && go build -o "$tmp/roomenv" ./cmd/roomenv && go build -o "$tmp/embed" ./examples/embed)
export PATH="$tmp:$PATH"

# A room on the network, with a token for it.
mkfifo "$tmp/address" "$tmp/steps"
roomenv room serve --listen 127.0.0.1:0 --data "$tmp/room" >"$tmp/address" &
pids=$!
read -r word url <"$tmp/address"
MESHAGENT_TOKEN=$(roomenv room token --data "$tmp/room" --room demo --identity agent)
export MESHAGENT_TOKEN MESHAGENT_ROOM=demo MESHAGENT_ROOM_URL="$url"

set_name() { printf %s "$1" | roomenv secret set name --from-file -; }
expect() {
	read -r line <&3
	echo "$line"
	[ "$line" = "$1" ] || { echo "want $1" >&2; exit 1; }
}
set_name alice
"$tmp/embed" "$here/.env.room" >"$tmp/steps" &
embed=$!
pids="$pids $embed"
exec 3<"$tmp/steps"
expect 'hello, alice!'
set_name bob
expect 'hello, bob!'
set_name ''
expect 'apply revision 3 (rolled back): NAME is empty in revision 3'
set_name carol
expect 'hello, carol!'
kill -TERM "$embed"
expect 'terminated signal received: revision 4, rollbacks 1'

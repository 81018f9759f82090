#!/bin/sh
# Stores two secrets in a local room of its own and runs a command with them in
# its environment: agent.sh, or the command given. The exit code is the
# command's. Nothing is left behind.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
(cd "$here/../.." && go build -o "$tmp/roomenv" ./cmd/roomenv)
export ROOMENV_DATA="$tmp/room" PATH="$tmp:$PATH"

printf %s sk-demo-0123456789 |
	roomenv secret set openai-api-key --from-file -
printf %s '{"username":"app","password":"correct horse"}' |
	roomenv secret set db-config --from-file - --type application/json
roomenv secret list

[ $# -gt 0 ] || set -- sh "$here/agent.sh"
roomenv exec -m "$here/.env.room" -- "$@"

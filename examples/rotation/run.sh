#!/bin/sh
# Rotates two secrets of a program that runs: one reaches it as a file and a signal,
# the other by a restart. Nothing is left behind.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
(cd "$here/../.." && go build -o "$tmp/roomenv" ./cmd/roomenv)
export ROOMENV_DATA="$tmp/room" PATH="$tmp:$PATH" STEPS="$tmp/steps"
mkfifo "$STEPS"

printf %s first-key | roomenv secret set api-key --from-file -
printf %s 'good morning' | roomenv secret set greeting --from-file -

roomenv exec -m "$here/roomenv.yaml" -- sh "$here/agent.sh" &
read -r step <"$STEPS" # started
roomenv status --pid $! | sed -n 's/^process [0-9]*/process N/p'

printf %s 'good evening' | roomenv secret set greeting --from-file -
read -r step <"$STEPS" # signalled
printf %s a-second-and-longer-key | roomenv secret set api-key --from-file -
read -r step <"$STEPS" # started
wait $!

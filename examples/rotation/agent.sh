#!/bin/sh
# Stands for a program that runs for long. It is told of a new greeting by a signal,
# and started again with a new key, with which it ends.
show() { echo "agent $$: a key of ${#API_KEY} characters, $(cat "$GREETING")"; }
trap show USR1
trap 'echo "agent $$: asked to end"; exit 0' TERM
show
echo started >"$STEPS"
[ ${#API_KEY} -lt 20 ] || exit 0
while :; do
	sleep 100 &
	wait $! || true
	echo signalled >"$STEPS"
done

#!/bin/sh
# Runs a sidecar in the image of roomenv, and beside it a container of another user, which
# sees values when they change: it has neither a token nor a network. Nothing is left
# behind. It needs root, for a tmpfs, and podman; without, it says so. With an argument,
# that is the image of the program; it needs a shell.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
skip() {
	echo "SKIPPED: $1; conformance/containers/run sets podman up, and runs this"
	exit 0
}
[ "$(id -u)" = 0 ] || skip 'a tmpfs needs root'
podman image exists localhost/roomenv 2>/dev/null || skip 'podman has no image localhost/roomenv'
app=${1:-localhost/app}

tmp=$(mktemp -d)
mkdir "$tmp/secrets" "$tmp/config"
# A pod has this as an emptyDir: the group lets containers share it.
mount -t tmpfs -o size=1m,mode=2770,gid=2000,nosuid,nodev,noexec tmpfs "$tmp/secrets"
cleanup() {
	podman rm --force --time 1 roomenv-sidecar roomenv-app >/dev/null 2>&1 || true
	[ -z "${room:-}" ] || { kill "$room" && wait "$room" || true; }
	umount "$tmp/secrets"
	rm -rf "$tmp"
}
trap cleanup EXIT
(cd "$here/../.." && go build -o "$tmp/roomenv" ./cmd/roomenv)
export ROOMENV_DATA="$tmp/room" PATH="$tmp:$PATH"

# The room, and a token for the identity of the sidecar.
mkfifo "$tmp/listening"
roomenv room serve --listen 127.0.0.1:0 >"$tmp/listening" &
room=$!
read -r _ url <"$tmp/listening"
(umask 077 && roomenv room token --room default --identity app >"$tmp/config/token")
chown 65532 "$tmp/config/token"
cp "$here/roomenv.yaml" "$tmp/config/"
printf %s sk-demo-0123456789 | roomenv secret set api-key --from-file - --for-identity app
printf %s 'good morning' | roomenv secret set greeting --from-file - --for-identity app

hardened="--read-only --cap-drop all --security-opt no-new-privileges --memory 32m --group-add 2000"
podman run --detach --name roomenv-sidecar $hardened --user 65532 --network host \
	--volume "$tmp/secrets:/secrets" --volume "$tmp/config:/config:ro" \
	--env MESHAGENT_ROOM=default --env MESHAGENT_ROOM_URL="$url" --env ROOMENV_TOKEN_FILE=/config/token \
	localhost/roomenv sidecar --dir /secrets/app --group 2000 -m /config/roomenv.yaml >/dev/null
podman exec roomenv-sidecar /roomenv ready --dir /secrets/app --wait 20s

podman run --detach --name roomenv-app $hardened --user 10001 --network none \
	--volume "$tmp/secrets:/secrets:ro" --volume "$here/app.sh:/app.sh:ro" \
	"$app" /app.sh >/dev/null

# saw waits until the program has printed a line.
saw() {
	tries=0
	until podman logs roomenv-app 2>/dev/null | grep -q "$1"; do
		tries=$((tries + 1))
		if [ "$tries" -gt 100 ]; then
			podman logs roomenv-app
			podman logs roomenv-sidecar
			echo "the program does not print '$1'" >&2
			exit 1
		fi
		sleep 0.1
	done
}
saw 'good morning: user 10001 has a key of 18 characters'
printf %s a-new-key | roomenv secret set api-key --from-file - --for-identity app
saw 'good morning: user 10001 has a key of 9 characters'
printf %s 'good evening' | roomenv secret set greeting --from-file - --for-identity app
saw 'good evening: user 10001 has a key of 9 characters'

# A sidecar that is killed leaves the files, and the next one continues.
podman kill --signal KILL roomenv-sidecar >/dev/null
podman start roomenv-sidecar >/dev/null
printf %s 'good night' | roomenv secret set greeting --from-file - --for-identity app
saw 'good night'
podman stop --time 10 roomenv-sidecar >/dev/null
podman logs roomenv-app

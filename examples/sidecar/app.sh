# The program of the other container. It reads what the sidecar writes, and prints it
# again when it has changed.
last=
while :; do
	now=$(cat /secrets/app/current/api-key) && . /secrets/app/current/app.env
	if [ "$now$GREETING" != "$last" ]; then
		echo "$GREETING: user $(id -u) has a key of ${#now} characters"
		last=$now$GREETING
	fi
	sleep 0.1
done

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// notifyService sends each message as sd_notify(3) does, with the end of a pipe that
// holds it too.
func notifyService(messages []string) {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		panic(err)
	}
	defer unix.Close(socket)
	manager := unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}
	for _, message := range messages {
		r, w, err := os.Pipe()
		if err != nil {
			panic(err)
		}
		_, _ = w.WriteString(message)
		_ = w.Close()
		if err := unix.Sendmsg(socket, []byte(message), unix.UnixRights(int(r.Fd())), &manager, 0); err != nil {
			panic(err)
		}
		_ = r.Close()
	}
}

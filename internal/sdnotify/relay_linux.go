// Package sdnotify passes on what a command reports to the service manager of roomenv,
// in the protocol of sd_notify(3). By default a manager takes reports of the main process
// of a service alone, which is roomenv.
package sdnotify

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/tmpfs"
)

// Variable is the variable with the address of the socket of the manager.
const Variable = "NOTIFY_SOCKET"

// Limits on a report, as in systemd, and on sending it.
const (
	maxReport   = 4096
	maxFiles    = 253 // SCM_MAX_FD of the kernel
	sendTimeout = time.Second
)

// A Relay is a socket of the command's own.
type Relay struct {
	manager string
	out     int // a socket to send from
	dir     *tmpfs.Dir
	socket  *net.UnixConn
	raw     syscall.RawConn
	log     *slog.Logger
	done    chan struct{}
}

// Start passes on reports to the manager at address until Close. The socket belongs to
// owner, the user of the command; nil is this user.
func Start(address string, owner *syscall.Credential, log *slog.Logger) (_ *Relay, err error) {
	r := &Relay{manager: address, log: log, done: make(chan struct{})}
	if r.out, err = open(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("relay reports to the service manager: %w", errors.Join(err, r.close()))
		}
	}()
	if r.dir, err = tmpfs.Open("", owner); err != nil {
		return nil, err
	}
	if r.socket, err = r.dir.ListenPacket("notify.sock"); err != nil {
		return nil, err
	}
	if r.raw, err = r.socket.SyscallConn(); err != nil {
		return nil, err
	}
	go func() {
		defer close(r.done)
		// It ends with the deadline that Close sets.
		_ = r.raw.Read(func(fd uintptr) bool {
			r.receive(fd)
			return false
		})
	}()
	return r, nil
}

// Address is the one of the socket.
func (r *Relay) Address() string { return r.socket.LocalAddr().String() }

// Notify sends a report of roomenv itself, such as STATUS=text.
func (r *Relay) Notify(report string) { r.send([]byte(report), nil) }

// Close passes on what the command has sent, and removes the socket.
func (r *Relay) Close() error {
	err := r.socket.SetReadDeadline(time.Unix(1, 0))
	<-r.done
	return errors.Join(err, r.raw.Control(r.receive), r.close())
}

func (r *Relay) close() error {
	err := unix.Close(r.out)
	if r.socket != nil {
		err = errors.Join(err, r.socket.Close())
	}
	return errors.Join(err, r.dir.Close())
}

// receive passes on the reports that are there.
func (r *Relay) receive(fd uintptr) {
	report, control := make([]byte, maxReport), make([]byte, unix.CmsgSpace(4*maxFiles))
	for {
		n, oob, flags, _, err := unix.Recvmsg(int(fd), report, control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0 {
			r.send(ours(report[:n]), control[:oob])
		}
		closeFiles(control[:oob])
	}
}

// ours is a report without what concerns only the process that sent it: its PID, and
// that it stops, which it also does to be restarted.
func ours(report []byte) []byte {
	var kept []string
	for line := range strings.SplitSeq(string(report), "\n") {
		if line != "" && line != "STOPPING=1" && !strings.HasPrefix(line, "MAINPID") {
			kept = append(kept, line)
		}
	}
	return []byte(strings.Join(kept, "\n"))
}

func (r *Relay) send(report, control []byte) {
	if len(report) == 0 {
		return
	}
	if err := sendTo(r.out, r.manager, report, control); err != nil {
		r.log.Warn("report to service manager lost", "error", err)
	}
}

// open returns a socket to send from.
func open() (socket int, err error) {
	socket, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	timeout := unix.NsecToTimeval(sendTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		return 0, errors.Join(err, unix.Close(socket))
	}
	return socket, nil
}

func sendTo(socket int, address string, report, control []byte) error {
	for {
		err := unix.Sendmsg(socket, report, control, &unix.SockaddrUnix{Name: address}, 0)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Send sends a report of this process to the manager at address.
func Send(address, report string) error {
	socket, err := open()
	if err != nil {
		return err
	}
	return errors.Join(sendTo(socket, address, []byte(report), nil), unix.Close(socket))
}

// closeFiles closes the files of a message that was passed on.
func closeFiles(control []byte) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return
	}
	for _, m := range messages {
		files, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range files {
			_ = unix.Close(fd)
		}
	}
}

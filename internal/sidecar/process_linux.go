package sidecar

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/procstat"
)

// find returns the processes that are meant, with their parents.
func (s Selector) find(group *int) map[int]int {
	found := make(map[int]int)
	for _, pid := range procstat.Processes() {
		if pid == os.Getpid() || !s.is(pid, group) {
			continue
		}
		if stat, ok := procstat.Read(pid); ok && stat.State != 'Z' {
			found[pid] = stat.Parent
		}
	}
	return found
}

// is reports whether a process is meant.
func (s Selector) is(pid int, group *int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if !mayRead(dir, group) {
		return false
	}
	if s.name != "" {
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		return err == nil && strings.TrimSuffix(string(name), "\n") == s.name
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	first, _, _ := bytes.Cut(line, []byte{0})
	return err == nil && (string(first) == s.cmd || filepath.Base(string(first)) == s.cmd)
}

// mayRead reports whether a process is of this user or in the group (proc_pid_status(5)).
// The real IDs count: every user can run a program that takes effective ones from its file.
func mayRead(dir string, group *int) bool {
	status, _ := os.ReadFile(filepath.Join(dir, "status"))
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		ids := strings.Fields(value)
		if (key == "Uid" || key == "Gid") && len(ids) > 0 {
			ids = ids[:1]
		}
		if key == "Uid" && slices.Contains(ids, strconv.Itoa(os.Geteuid())) ||
			(key == "Gid" || key == "Groups") && group != nil && slices.Contains(ids, strconv.Itoa(*group)) {
			return true
		}
	}
	return false
}

// send sends a signal to the processes that are meant, except those whose parent is too:
// a program with worker processes gets one. A process is looked at again by a descriptor
// of it (pidfd_open(2)), so that a later one with its PID gets none.
func (s Selector) send(sig unix.Signal, group *int) error {
	found := s.find(group)
	var errs []error
	for pid, parent := range found {
		if _, worker := found[parent]; worker {
			continue
		}
		if err := s.sendTo(pid, sig, group); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), pid, err))
		}
	}
	return errors.Join(errs...)
}

func (s Selector) sendTo(pid int, sig unix.Signal, group *int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if !s.is(pid, group) {
		return nil
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

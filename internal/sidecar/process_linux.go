package sidecar

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// find returns the processes that are meant, with their parents. Those of other users
// count too: their names can be read.
func (s Selector) find() map[int]int {
	found := make(map[int]int)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !s.is(pid) {
			continue
		}
		if parent, ok := parentOf(pid); ok {
			found[pid] = parent
		}
	}
	return found
}

// is reports whether a process is meant.
func (s Selector) is(pid int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if s.name != "" {
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		return err == nil && strings.TrimSuffix(string(name), "\n") == s.name
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	first, _, _ := bytes.Cut(line, []byte{0})
	return err == nil && (string(first) == s.cmd || filepath.Base(string(first)) == s.cmd)
}

// parentOf returns the parent of a process, which runs (proc_pid_stat(5)).
func parentOf(pid int) (int, bool) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // the name may hold anything
	if err != nil || len(fields) < 2 || fields[0] == "Z" {
		return 0, false
	}
	parent, err := strconv.Atoi(fields[1])
	return parent, err == nil
}

// send sends a signal to the processes that are meant, except those whose parent is too:
// a program with worker processes gets one. A process is looked at again by a descriptor
// of it (pidfd_open(2)), so that a later one with its PID gets none.
func (s Selector) send(sig unix.Signal) error {
	found := s.find()
	var errs []error
	for pid, parent := range found {
		if _, worker := found[parent]; worker {
			continue
		}
		if err := s.sendTo(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), pid, err))
		}
	}
	return errors.Join(errs...)
}

func (s Selector) sendTo(pid int, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if !s.is(pid) {
		return nil
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

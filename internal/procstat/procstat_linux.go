// Package procstat reads what the kernel says of a process (proc_pid_stat(5)).
package procstat

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// A Stat is a part of /proc/PID/stat.
type Stat struct {
	State  byte // such as R, S, T for stopped or Z for a zombie
	Parent int
	Group  int
}

// Read reports whether the process exists.
func Read(pid int) (Stat, bool) {
	// PID (COMMAND) STATE PARENT GROUP …, where a command may be any text.
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if err != nil || len(fields) < 3 {
		return Stat{}, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return Stat{}, false
	}
	group, err := strconv.Atoi(string(fields[2]))
	return Stat{fields[0][0], parent, group}, err == nil
}

// Processes returns the PIDs of all processes, or none if /proc is not mounted.
func Processes() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

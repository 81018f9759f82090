package main

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// parseUser reads UID, UID:GID or the name of a user, whose groups come along. ""
// is nobody. A UID that no user has needs a GID: 0, which others take then, is
// root's.
func parseUser(s string) (*syscall.Credential, error) {
	if s == "" {
		return nil, nil
	}
	fail := func(reason string) (*syscall.Credential, error) {
		return nil, hint(fmt.Errorf("cannot use --user %q: %s", s, reason), "write UID:GID, or the name of a user of this system")
	}
	id, group, both := strings.Cut(s, ":")
	uid, err := strconv.ParseUint(id, 10, 32)
	if both {
		gid, groupErr := strconv.ParseUint(group, 10, 32)
		if err != nil || groupErr != nil {
			return fail("with a colon both parts are numbers")
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	lookup := user.LookupId
	if err != nil {
		lookup = user.Lookup
	}
	u, err := lookup(id)
	if err != nil {
		return fail("there is no such user here")
	}
	ids, err := u.GroupIds()
	if err != nil {
		return fail("its groups cannot be found")
	}
	numbers := make([]uint32, 0, len(ids)+2)
	for _, text := range append([]string{u.Uid, u.Gid}, ids...) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fail("it has no number")
		}
		numbers = append(numbers, uint32(n))
	}
	return &syscall.Credential{Uid: numbers[0], Gid: numbers[1], Groups: numbers[2:]}, nil
}

// parseSignal reads TERM, SIGTERM or 15, the value of what errors call setting.
// "" is 0.
func parseSignal(setting, s string) (syscall.Signal, error) {
	if s == "" {
		return 0, nil
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG"))
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		sig = syscall.Signal(n)
	}
	if sig == 0 {
		return 0, hint(fmt.Errorf("cannot use %s: there is no such signal", setting), "write a name such as INT or QUIT, or a number")
	}
	return sig, nil
}

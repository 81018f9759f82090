package main

import (
	"errors"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/roomenv/roomenv/inject"
)

// parseUser reads UID, UID:GID or the name of a user, with the groups of that user. A
// UID that no user has needs a GID: other programs take 0 then, which is root's.
func parseUser(s string) (*syscall.Credential, error) {
	fail := func(reason string) (*syscall.Credential, error) {
		return nil, hint(errors.New(reason), "use UID:GID, or the name of a user of this system")
	}
	id, group, both := strings.Cut(s, ":")
	uid, err := strconv.ParseUint(id, 10, 32)
	if both {
		gid, groupErr := strconv.ParseUint(group, 10, 32)
		if err != nil || groupErr != nil {
			return fail("want two numbers")
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	lookup := user.LookupId
	if err != nil {
		lookup = user.Lookup
	}
	u, err := lookup(id)
	if err != nil {
		return fail("user not found")
	}
	ids, err := u.GroupIds()
	if err != nil {
		return fail("groups not found")
	}
	numbers := make([]uint32, 0, len(ids)+2)
	for _, text := range append([]string{u.Uid, u.Gid}, ids...) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fail("a group is not a number")
		}
		numbers = append(numbers, uint32(n))
	}
	return &syscall.Credential{Uid: numbers[0], Gid: numbers[1], Groups: numbers[2:]}, nil
}

const signalHint = "use a name such as INT or QUIT, or a number"

// parseSignal reads TERM, SIGTERM or 15.
func parseSignal(s string) (syscall.Signal, error) {
	signal, err := inject.ParseSignal(s)
	if err != nil {
		err = hint(errors.New("unknown signal"), signalHint)
	}
	return signal, err
}

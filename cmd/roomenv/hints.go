package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/trustedpath"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/room"
)

// roomHints are what to do about a reference to a room that has no value, by the
// reason.
var roomHints = []struct {
	reason error
	text   string
}{
	{fetch.ErrMissing, "store it with `roomenv secret set ID --from-file -`, for another identity with --for-identity NAME, or make it optional with ?default=VALUE or ?optional=true"},
	{fetch.ErrDenied, "use a token for this room that is not expired and has the `secrets` grant; it reads the secrets of its own identity"},
	{fetch.ErrUnreachable, "check MESHAGENT_ROOM, MESHAGENT_ROOM_URL and the network"},
	{fetch.ErrUnsupported, "use a room that has the secrets toolkit, and messaging for requests to participants"},
	{fetch.ErrRejected, "ask again, or make it optional with ?default=VALUE or ?optional=true"},
	{fetch.ErrNoAnswer, "ask the participant to run `roomenv requests`, raise timeout=, or add ?default=VALUE or ?optional=true"},
}

// localHints are what to do about the local room.
var localHints = []struct {
	reason error
	text   string
}{
	{localroom.ErrDamaged, "save what is intact with `roomenv room recover`, or use a backup with `roomenv room restore FILE --force`"},
	{localroom.ErrAltered, "accept the records that are there with `roomenv room recover`, or use a backup with `roomenv room restore FILE --force`"},
	{localroom.ErrWrongKey, "use the room.key file or the ROOMENV_ROOM_KEY that the store was created with"},
	{trustedpath.ErrUntrusted, "fix owner and mode with chown and chmod, or set ROOMENV_DATA to a directory of your own"},
	{syscall.EROFS, "set ROOMENV_DATA to a directory that is not on a read-only file system"},
	{syscall.ENOSPC, "free space in the data directory, or set ROOMENV_DATA to a different one"},
	{syscall.EDQUOT, "free space in the data directory: the quota is exceeded"},
}

// withHints adds what to do about an error of another package on the command line: for
// each reason that references to a room have no value, for refused variables, for a
// manifest that is not there, and for the local room.
func withHints(err error) error {
	if errors.Is(err, render.ErrLoadsCode) {
		err = hint(err, "pass --allow NAME, or list it under exec.allow, if everyone who can write the value may run code here")
	}
	if file, ok := errors.AsType[*manifest.Error](err); ok && errors.Is(file, fs.ErrNotExist) {
		err = hint(err, "or name another file with -m")
	}
	_, local := errors.AsType[localError](err)
	for _, h := range localHints {
		_, system := errors.AsType[syscall.Errno](h.reason)
		system = system || errors.Is(h.reason, trustedpath.ErrUntrusted)
		if errors.Is(err, h.reason) && (local || !system) {
			err = hint(err, h.text)
		}
	}
	if stopped, ok := errors.AsType[*localroom.StoppedError](err); ok {
		err = hint(err, fmt.Sprintf("continue it with `fg` in its terminal or `kill -CONT %d`, or end it", stopped.PID))
	}
	table, ok := errors.AsType[*fetch.Error](err)
	if !ok {
		return err
	}
	var reasons []error
	for _, f := range table.Failures {
		_, local := errors.AsType[localError](f.Err)
		if strings.HasPrefix(f.Reference, manifest.SchemeRoom+":") && !local {
			reasons = append(reasons, f.Err)
		}
	}
	for _, h := range roomHints {
		if errors.Is(errors.Join(reasons...), h.reason) {
			err = hint(err, fmt.Sprintf("%v: %s", h.reason, h.text))
		}
	}
	if errors.Is(errors.Join(reasons...), room.ErrConflict) {
		err = hint(err, "name the participant who delegated it with ?delegated_by=NAME")
	}
	return err
}

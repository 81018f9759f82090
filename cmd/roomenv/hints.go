package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
)

// roomHints are what to do about a reference to a room that has no value, by the
// reason.
var roomHints = []struct {
	reason error
	text   string
}{
	{fetch.ErrMissing, "store it with `roomenv secret set ID --text VALUE`, or do without it: add ?default=VALUE or ?optional=true to the reference"},
	{fetch.ErrDenied, "the token has to be for this room, not expired, and with the `secrets` grant; it reads the secrets of its own identity"},
	{fetch.ErrUnreachable, "check MESHAGENT_ROOM, MESHAGENT_ROOM_URL and the network"},
	{fetch.ErrUnsupported, "use a room that has the secrets toolkit, and messaging where participants are asked"},
	{fetch.ErrRejected, "ask again, or do without it: add ?default=VALUE or ?optional=true to the reference"},
	{fetch.ErrNoAnswer, "who is asked runs `roomenv requests`; give them longer with timeout=SECONDS, or do without it: add ?default=VALUE or ?optional=true to the reference"},
}

// withRoomHints adds a hint to err for each reason that its references to a room have.
func withRoomHints(err error) error {
	table, ok := errors.AsType[*fetch.Error](err)
	if !ok {
		return err
	}
	var reasons []error
	for _, f := range table.Failures {
		if strings.HasPrefix(f.Reference, manifest.SchemeRoom+":") {
			reasons = append(reasons, f.Err)
		}
	}
	for _, h := range roomHints {
		if errors.Is(errors.Join(reasons...), h.reason) {
			err = hint(err, fmt.Sprintf("%v: %s", h.reason, h.text))
		}
	}
	return err
}

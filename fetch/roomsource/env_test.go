package roomsource_test

import (
	"errors"
	"testing"

	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/room"
)

func TestFromEnv(t *testing.T) {
	for _, name := range []string{"MESHAGENT_ROOM", "MESHAGENT_TOKEN", "ROOMENV_TOKEN_FILE", "MESHAGENT_API_KEY"} {
		t.Setenv(name, "")
	}
	if _, err := roomsource.FromEnv(); !errors.Is(err, room.ErrMissingRoom) {
		t.Errorf("error %v", err)
	}
	t.Setenv("MESHAGENT_ROOM", "demo")
	if _, err := roomsource.FromEnv(); !errors.Is(err, room.ErrMissingToken) {
		t.Errorf("error %v", err)
	}
	t.Setenv("MESHAGENT_TOKEN", "token")
	if s, err := roomsource.FromEnv(); s == nil || err != nil { // it is used when a value is fetched
		t.Errorf("got %v, %v", s, err)
	}
}

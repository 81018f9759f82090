package inject_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/runner"
)

// Without a command hooks run all the same, until the end.
func TestIdle(t *testing.T) {
	touched := filepath.Join(t.TempDir(), "touched")
	c := inject.Consumer{Command: inject.Command{Stderr: os.Stderr}}
	c.Start()
	change := runner.Change{Hooks: []manifest.OnChange{{Kind: manifest.ChangeTouch, Touch: touched}}}
	if err := c.Apply(t.Context(), revision("1"), change); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(touched); err == nil {
			break
		}
		select {
		case <-c.Done():
			t.Fatal("it is done")
		default:
		}
	}
	cause := errors.New("the end")
	if code, err := c.Stop(cause); code != 125 || !errors.Is(err, cause) {
		t.Errorf("got %d, %v", code, err)
	}
}

// A signal ends it.
func TestIdleSignal(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(inject.SignalError{Signal: 15})
	code, err := new(inject.Supervisor).Run(ctx, inject.Command{}, nil)
	if signal, ok := errors.AsType[inject.SignalError](err); code != 143 || !ok || signal.Signal != 15 {
		t.Errorf("got %d, %v", code, err)
	}
}

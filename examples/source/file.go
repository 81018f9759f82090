package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// A fileSource resolves file:text/PATH: the content of a file in a directory, without
// the newline at its end.
type fileSource struct{ root *os.Root }

func openFiles(dir string) (fetch.Source, error) {
	root, err := os.OpenRoot(dir)
	return fileSource{root}, err
}

// Resolve is that of a [fetch.Source]. An error that it does not know the meaning of
// makes the value stale and revokes nothing.
func (s fileSource) Resolve(_ context.Context, t manifest.Target) (secret.Value, error) {
	if t.Kind() != "text" {
		return secret.Value{}, fmt.Errorf("%w: want file:text/PATH", fetch.ErrUnsupported)
	}
	b, err := s.root.ReadFile(t.ID())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return secret.Value{}, fmt.Errorf("%w: %w", fetch.ErrMissing, err)
	case errors.Is(err, fs.ErrPermission):
		return secret.Value{}, fmt.Errorf("%w: %w", fetch.ErrDenied, err)
	case err != nil:
		return secret.Value{}, err
	}
	return secret.New(bytes.TrimSuffix(b, []byte("\n"))), nil
}

// PollInterval is that of a [fetch.Poller]: to read a file is cheap.
func (fileSource) PollInterval() time.Duration { return 100 * time.Millisecond }

// Close is called when the runner is closed.
func (s fileSource) Close() error { return s.root.Close() }

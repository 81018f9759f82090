package status_test

import (
	"testing"

	"github.com/roomenv/roomenv/internal/status"
)

// A process may exit after it was found.
func TestExited(t *testing.T) {
	runtimeFolder(t)
	s, err := status.Serve(report, func() {}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := find(t)[0]
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.Status(t.Context()); !status.Exited(err) {
		t.Errorf("error %v", err)
	}
}

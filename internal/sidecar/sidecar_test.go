package sidecar_test

import (
	"syscall"
	"testing"

	"github.com/roomenv/roomenv/internal/sidecar"
)

func TestParseNotification(t *testing.T) {
	for text, want := range map[string]struct {
		selector string
		signal   syscall.Signal
	}{
		"name=nginx":                {"name=nginx", syscall.SIGHUP},
		"name=nginx=USR1":           {"name=nginx", syscall.SIGUSR1},
		"name=a-name-of-20-letters": {"name=a-name-of-20-le", syscall.SIGHUP},
		"cmd=/usr/bin/app=10":       {"cmd=/usr/bin/app", syscall.SIGUSR1},
		"nginx":                     {},
		"name=":                     {},
		"exe=/usr/bin/app":          {},
		"name=nginx=":               {},
		"name=nginx=NONE":           {},
		"=HUP":                      {},
		"":                          {},
	} {
		n, err := sidecar.ParseNotification(text)
		if (err == nil) != (want.selector != "") || err == nil && (n.String() != want.selector || n.Signal != want.signal) {
			t.Errorf("%q: got %s with %v, error %v", text, n, n.Signal, err)
		}
	}
}

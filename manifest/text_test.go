package manifest_test

import (
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

func TestText(t *testing.T) {
	password := "hunter2"
	for want, x := range map[string]interface{ String() string }{
		".env.room:3:7": manifest.Position{File: ".env.room", Line: 3, Column: 7},
		"environment":   manifest.Position{File: "environment"},
		"room:secret/a": manifest.Reference{Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/a"}},
		"room:secret/a#/b%20c/0": manifest.Reference{
			Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/a"}, Field: "/b c/0", Default: &password},
	} {
		if got := x.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

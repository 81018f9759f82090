package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// One newline at the end of what a command prints is not part of the value.
func TestCommandValue(t *testing.T) {
	for command, want := range map[string]string{
		`printf 'a'`: "a", `printf 'a\n'`: "a", `printf 'a\n\n'`: "a\n", `printf ' a \r\n'`: " a \r",
	} {
		if got, err := commandValue(t.Context(), command); err != nil || string(got.Reveal()) != want {
			t.Errorf("%s: %q, error %v", command, got.Reveal(), err)
		}
	}
	for _, command := range []string{"exit 3", "true", `printf '\n'`, "cat /dev/zero"} {
		if got, err := commandValue(t.Context(), command); err == nil {
			t.Errorf("%s: %d bytes", command, got.Len())
		}
	}
}

// A file is a value byte for byte, if a room would take it.
func TestReadValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	for size, ok := range map[int]bool{0: true, wire.DefaultMaxMessage: true, wire.DefaultMaxMessage + 1: false} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readValue(nil, path); (err == nil) != ok || ok && got.Len() != size {
			t.Errorf("%d bytes: got %d, error %v", size, got.Len(), err)
		}
	}
	if got, err := readValue(strings.NewReader("\na\n"), "-"); err != nil || string(got.Reveal()) != "\na\n" {
		t.Errorf("stdin: %q, error %v", got.Reveal(), err)
	}
}

func TestDecode(t *testing.T) {
	if got, err := decode("aGk="); err != nil || string(got.Reveal()) != "hi" {
		t.Errorf("%q, error %v", got.Reveal(), err)
	}
	for _, bad := range []string{"aGk", "aGl=", "a-_=", "canary!"} { // aGl= has bits beyond the end
		if got, err := decode(bad); err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %d bytes, error %v", bad, got.Len(), err)
		}
	}
}

// The local room takes tokens of the key that is set, and of no other.
func TestVerifyKey(t *testing.T) {
	apiKey := secret.New([]byte("ma-...._wAAQACAAAAAAAAA_g-ERERESIiQzOERFVVVVVVVQ-s3-cr3t_key"))
	for name, tt := range map[string]struct {
		a    app
		id   string
		want string // "" is none
	}{
		"no secret":      {app{}, "", ""},
		"secret":         {app{Secret: secret.New([]byte("s"))}, "", "s"},
		"secret, ID":     {app{Secret: secret.New([]byte("s"))}, "ffff", ""},
		"no API key":     {app{}, "ffff", ""},
		"other API key":  {app{env: room.Env{APIKey: apiKey}}, "other", ""},
		"API key, no ID": {app{env: room.Env{APIKey: apiKey}}, "", ""},
	} {
		got, ok := tt.a.verifyKey(tt.id)
		if ok != (tt.want != "") || ok && string(got.Reveal()) != tt.want {
			t.Errorf("%s: %t, %d bytes", name, ok, got.Len())
		}
	}
}

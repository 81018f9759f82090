package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/secret"
)

const canary = "hunter2-canary"

func TestNothingPrintsIt(t *testing.T) {
	v := secret.New([]byte(canary))
	hidden := struct{ v secret.Value }{v}
	shown := struct{ V secret.Value }{v}

	var out bytes.Buffer
	for _, x := range []any{v, &v, hidden, &hidden, shown, &shown, []secret.Value{v}, map[string]secret.Value{"k": v}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", x)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", x)
	}
	forms := []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), strings.Trim(fmt.Sprint([]byte(canary)), "[]")}
	for _, f := range forms {
		if strings.Contains(out.String(), f) {
			t.Errorf("the value was printed as %q", f)
		}
	}
	if !strings.Contains(out.String(), secret.Redacted) {
		t.Errorf("nothing says %s", secret.Redacted)
	}
	if err := gob.NewEncoder(&out).Encode(v); err == nil {
		t.Error("gob encoded a value")
	}
}

func TestValue(t *testing.T) {
	var zero secret.Value
	a, b := secret.New([]byte("a")), secret.New([]byte("a"))
	switch {
	case zero.Len() != 0 || zero.Reveal() != nil:
		t.Error("the zero value is not empty")
	case !a.Equal(b), a.Equal(zero), !zero.Equal(secret.New(nil)):
		t.Error("Equal compares something else than the bytes")
	case string(a.Reveal()) != "a" || a.Len() != 1:
		t.Error("Reveal does not return the bytes")
	}
	text := []byte("b")
	if err := zero.UnmarshalText(text); err != nil {
		t.Error(err)
	}
	if text[0] = 'x'; string(zero.Reveal()) != "b" {
		t.Error("UnmarshalText does not copy")
	}
}

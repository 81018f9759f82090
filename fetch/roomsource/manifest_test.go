package roomsource_test

import (
	"testing"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/manifest"
)

func mux(s *roomsource.Source) fetch.Mux { return fetch.Mux{manifest.SchemeRoom: s} }

func target(id string) manifest.Target {
	return manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/" + id}
}

func ref(id string) manifest.Part {
	return manifest.Part{Reference: &manifest.Reference{Target: target(id)}}
}

func optional(id string) manifest.Part {
	return manifest.Part{Reference: &manifest.Reference{Target: target(id), Optional: true}}
}

// file is a manifest with an entry for each value, named A, B, …
func file(values ...manifest.Expr) *manifest.Manifest {
	m := new(manifest.Manifest)
	for i, v := range values {
		m.Entries = append(m.Entries, manifest.Entry{Name: string(rune('A' + i)), Value: v})
	}
	return m
}

func wantValue(t *testing.T, s *fetch.Snapshot, id, want string) {
	t.Helper()
	if v, ok := s.Value(target(id)); !ok || string(v.Reveal()) != want {
		t.Errorf("%s is %q, %t, want %q", id, v.Reveal(), ok, want)
	}
}

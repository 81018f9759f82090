package render_test

import (
	"fmt"
	"testing"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// BenchmarkRender renders 1,000 entries of every kind over 50 inherited variables.
func BenchmarkRender(b *testing.B) {
	r := make(room)
	var entries []manifest.Entry
	for i := range 250 {
		id := fmt.Sprint(i)
		r[id] = "a value of a usual length, 0123456789"
		r["json"+id] = `{"username": "app", "password": "0123456789", "port": 5432}`
		entries = append(entries,
			entry("PLAIN_"+id, ref(id)),
			entry("FIELD_"+id, ref("json"+id, at("password"))),
			entry("URL_"+id, text("postgres://app:"), is("PLAIN_"+id), text("@"), is("HOST :-", text("db")), text("/app")),
			entry("BASE64_"+id, ref(id, encoded)),
		)
	}
	var inherited []string
	for i := range 50 {
		inherited = append(inherited, fmt.Sprintf("INHERITED_%d=a value of a usual length, 0123456789", i))
	}
	m := file(entries...)
	s, err := fetch.Resolve(b.Context(), m, fetch.Mux{manifest.SchemeRoom: r})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (render.Policy{}).Render(m, s, inherited, ""); err != nil {
			b.Fatal(err)
		}
	}
}

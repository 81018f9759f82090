package render_test

import (
	"slices"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

// TestSecrets names what came from the room, and nothing else.
func TestSecrets(t *testing.T) {
	r := room{"key": "k-value", "db": `{"password": "p-value", "user": "u-value"}`, "bytes": "\xff\x00\xfe"}
	m := file(
		entry("KEY", ref("key")),
		entry("URL", text("db://"), ref("db", at("user")), text(":"), ref("db", at("password")), text("@host")),
		entry("COPY", is("KEY"), text("/"), is("UNSET :-", ref("key"))),
		entry("BYTES", ref("bytes", encoded)),
		entry("DEFAULT", ref("missing", fallback("default"))),
		entry("ABSENT", ref("missing", optional)),
	)
	m.Files = []manifest.File{
		{Path: "tls/key.pem", Entries: []manifest.Entry{entry("", ref("bytes"))}},
		{Path: "app.env", Format: manifest.FormatJSON, Entries: []manifest.Entry{entry("PASSWORD", ref("db", at("password")))}},
		{Path: "app.json", Format: manifest.FormatTemplate, Entries: []manifest.Entry{entry(manifest.Call("secret", "db#user"), ref("db", at("user")))}},
	}
	g, err := r.render(t, m, "INHERITED=x")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range g.Secrets {
		got = append(got, s.Name+"="+string(s.Value.Reveal()))
	}
	want := []string{"KEY=k-value", "db#user=u-value", "db#password=p-value", "key=k-value", "BYTES=\xff\x00\xfe", "BYTES=/wD+",
		"tls/key.pem=\xff\x00\xfe", "PASSWORD=p-value", "db#user=u-value"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

package render_test

import (
	"slices"
	"testing"
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
	g, err := r.render(t, m, "INHERITED=x")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range g.Secrets {
		got = append(got, s.Name+"="+string(s.Value.Reveal()))
	}
	want := []string{"KEY=k-value", "db#user=u-value", "db#password=p-value", "key=k-value", "BYTES=\xff\x00\xfe", "BYTES=/wD+"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

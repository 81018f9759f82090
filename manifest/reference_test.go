package manifest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

func position(p manifest.Position) string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }

func TestParseReference(t *testing.T) {
	secret := func(id string) manifest.Reference {
		return manifest.Reference{Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/" + id}}
	}
	with := func(r manifest.Reference, change func(*manifest.Reference)) manifest.Reference {
		change(&r)
		return r
	}
	text := func(s string) *string { return &s }
	for _, test := range []struct {
		text string
		want manifest.Reference
	}{
		{"room:secret/db-password", secret("db-password")},
		{"room:secret/team/db", secret("team/db")},
		{"room:secret/a%20b%2Fc%25", secret("a b/c%")},
		{"room:secret/%C3%BC", secret("ü")},
		{"room://prod-1/secret/db", with(secret("db"), func(r *manifest.Reference) { r.Group = "prod-1" })},
		{"room:secret/db#user", with(secret("db"), func(r *manifest.Reference) { r.Field = "user" })},
		{"room:secret/db#/a~1b/0", with(secret("db"), func(r *manifest.Reference) { r.Field = "/a~1b/0" })},
		{"room:secret/db#a?b&c%20d", with(secret("db"), func(r *manifest.Reference) { r.Field = "a?b&c d" })},
		{"room:secret/db?type=application/ld%2Bjson&name=a%26b&delegated_to=bob#x", with(secret("db"), func(r *manifest.Reference) {
			r.Params, r.Field = "type=application%2Fld%2Bjson&name=a%26b&delegated_to=bob", "x"
		})},
		{"room:secret/db?optional=true", with(secret("db"), func(r *manifest.Reference) { r.Optional = true })},
		{"room:secret/db?optional=false", secret("db")},
		{"room:secret/db?default=", with(secret("db"), func(r *manifest.Reference) { r.Default = text("") })},
		{"room:secret/db?default=a%20b=c", with(secret("db"), func(r *manifest.Reference) { r.Default = text("a b=c") })},
		{"room:oauth/github", manifest.Reference{Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "oauth/github"}}},
		{"room://r/oauth/github?delegated_to=a&delegated_by=b&from=c&optional=true", manifest.Reference{
			Target: manifest.Target{Scheme: manifest.SchemeRoom, Group: "r", Path: "oauth/github", Params: "delegated_to=a&delegated_by=b&from=c"}, Optional: true,
		}},
		{"room:request/alice@example.com?url=https://stripe.com/&type=text/plain", manifest.Reference{
			Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/alice@example.com", Params: "url=https%3A%2F%2Fstripe.com%2F&type=text%2Fplain"},
		}},
		{"room:request/alice?url=u&type=git&timeout=2m", manifest.Reference{
			Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/alice", Params: "url=u&type=git&timeout=120"},
		}},
		{"room:request/alice?timeout=3600&delegate_to=b&type=git&url=u#password", manifest.Reference{
			Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/alice", Params: "url=u&type=git&delegate_to=b&timeout=3600"}, Field: "password",
		}},
		{"room:secret/db?file=tls/key.pem&mode=0440", secret("db").WithFile("tls/key.pem", 0o440)},
		{"room:secret/db?encoding=base64", with(secret("db"), func(r *manifest.Reference) { r.Base64 = true })},
	} {
		got, err := manifest.ParseReference(test.text)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, %v, want %+v", test.text, got, err, test.want)
		}
	}
}

func TestParseReferenceErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "starts with room:"},
		{"https://x", "starts with room:"},
		{"Room:secret/x", "starts with room:"},
		{"room:", "missing kind"},
		{"room:/secret/x", "missing kind"},
		{"room://prod", "missing kind"},
		{"room://prod/", "missing kind"},
		{"room:secret", "missing ID"},
		{"room:secret/", "missing ID"},
		{"room:secret/?type=a", "missing ID"},
		{"room:secrte/x", `did you mean "secret"`},
		{"room:vault/x", "one of secret, oauth, request"},
		{"room:oauth/", "write room:oauth/CLIENT"},
		{"room:oauth/github?type=t", "one of delegated_to, delegated_by, from, optional"},
		{"room:secret/x?from=a", "unknown key"},
		{"room:request/", "write room:request/PARTICIPANT?url=URL&type=TYPE"},
		{"room:request/alice", "missing `url`"},
		{"room:request/alice?url=x", "missing `type`"},
		{"room:request/alice?type=x", "missing `url`"},
		{"room:request/alice?url=x&type=x&delegated_to=b", `did you mean "delegate_to"`},
		{"room:request/alice?url=x&type=x&timeout=0", "want a number of seconds, or a duration such as 2m"},
		{"room:request/alice?url=x&type=x&timeout=3601", "from 1 to 3600"},
		{"room:request/alice?url=x&type=x&timeout=61m", "from 1 to 3600"},
		{"room:request/alice?url=x&type=x&timeout=1500ms", "from 1 to 3600"},
		{"room:request/alice?url=x&type=x&timeout=-1", "want a number of seconds, or a duration such as 2m"},
		{"room:///secret/x", "room is empty"},
		{"room://Prod/secret/x", "invalid room"},
		{"room://a:80/secret/x", "invalid room"},
		{"room://u@a/secret/x", "invalid room"},
		{"room://" + strings.Repeat("a", 64) + "/secret/x", "invalid room"},
		{"room:secret/x?", "unknown key"},
		{"room:secret/x?typ=a", `did you mean "type"`},
		{"room:secret/x?file=/a", "invalid file: want a relative path"},
		{"room:secret/x?file=a&mode=0077", "invalid mode: want four octal digits"},
		{"room:secret/x?file=", "file is empty"},
		{"room:secret/x?type", "write type=VALUE"},
		{"room:secret/x?type=", "type is empty"},
		{"room:secret/x?type=a&type=a", "duplicate key"},
		{"room:secret/x?optional=yes", "want true or false"},
		{"room:secret/x?encoding=hex", "unknown encoding"},
		{"room:secret/x?type=a+b", "ambiguous"},
		{"room:secret/x?type=a;b", "ambiguous"},
		{"room:secret/x#", "field is empty"},
		{"room:secret/x#/a~b", "JSON Pointer"},
		{"room:secret/x#a#b", "second"},
		{"room:secret/a b", "percent-encode it"},
		{"room:secret/ü", "percent-encode it"},
		{"room:secret/a\nb", "percent-encode it"},
		{"room:secret/$A", "same in every environment"},
		{"room:secret/%zz", "two hexadecimal digits"},
		{"room:secret/a%2", "two hexadecimal digits"},
		{"room:secret/%ff", "want text"},
		{"room:secret/%00", "want text"},
		{"room:secret/x?default=%00", "want text"},
		{"room:secret/x#%ff", "want text"},
	} {
		_, err := manifest.ParseReference(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.text, err, test.want)
		}
	}
}

func TestTargetString(t *testing.T) {
	for want, target := range map[string]manifest.Target{
		"room:secret/db": {Scheme: manifest.SchemeRoom, Path: "secret/db"},
		"room:oauth/github?delegated_by=b&from=c":                           {Scheme: manifest.SchemeRoom, Path: "oauth/github", Params: "delegated_by=b&from=c"},
		"room:request/alice?url=u&type=t&delegate_to=d&timeout=600":         {Scheme: manifest.SchemeRoom, Path: "request/alice", Params: "url=u&type=t&delegate_to=d&timeout=600"},
		"room:request/alice?url=https%3A%2F%2Fstripe.com&type=text%2Fplain": {Scheme: manifest.SchemeRoom, Path: "request/alice", Params: "url=https%3A%2F%2Fstripe.com&type=text%2Fplain"},
		"room://prod/secret/a%2Fb?type=a%2Bb&name=a%20b&delegated_to=%24":   {Scheme: manifest.SchemeRoom, Group: "prod", Path: "secret/a/b", Params: "type=a%2Bb&name=a%20b&delegated_to=%24"},
	} {
		if got := target.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestReferences(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env.room")
	text := `A="${room:secret/a}-${B:-${room:secret/b}${C:+${room:secret/c}}}-${D:?no ${room:secret/d}}-${room:secret/e}"` + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Load([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r, inWord := range m.Entries[0].Value.References() {
		got = append(got, fmt.Sprint(r.ID(), " ", inWord))
	}
	if want := []string{"a false", "b true", "c true", "e false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, last := range []string{"a", "b", "c"} {
		for r := range m.Entries[0].Value.References() {
			if r.ID() == last {
				break
			}
		}
	}
}

func TestString(t *testing.T) {
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

package fetch_test

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// jwt returns a token that ends at exp, which nobody can verify.
func jwt(exp time.Time) string { return claims(fmt.Sprintf(`{"aud":["x"],"exp":%d}`, exp.Unix())) }

func claims(text string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256K","typ":"JWT"}`)) + "." + encode([]byte(text)) + ".c2ln"
}

func TestExpiry(t *testing.T) {
	for token, want := range map[string]int64{
		claims(`{"exp":1893456000}`):         1893456000,
		claims(`{"exp":1893456000.7}`):       1893456000,
		claims(`{"exp":1893456000,"aud":7}`): 1893456000,
		claims(`{"sub":"x"}`):                0,
		claims(`{"exp":null}`):               0,
		claims(`{"exp":"soon"}`):             0,
		claims(`{"exp":-1}`):                 0,
		claims(`{"exp":1e300}`):              0,
		claims(`{"exp":1e15}`):               0,
		claims(`null`):                       0,
		claims(`[]`):                         0,
		"gho_opaque":                         0,
		"a.b.c":                              0,
		"..":                                 0,
		"":                                   0,
	} {
		got := fetch.Expiry(secret.New([]byte(token)))
		if want == 0 && !got.IsZero() || want != 0 && got.Unix() != want {
			t.Errorf("%s ends at %v, want %d", token, got, want)
		}
	}
}

func FuzzExpiry(f *testing.F) {
	for _, token := range []string{claims(`{"exp":1893456000}`), claims(`{"exp":1e300}`), claims(`null`), "a.b.c", "..", ""} {
		f.Add([]byte(token))
	}
	f.Fuzz(func(t *testing.T, token []byte) {
		exp := fetch.Expiry(secret.New(token))
		if !exp.IsZero() && (exp.Unix() <= 0 || exp.Year() > 9999) {
			t.Errorf("%q ends at %v", token, exp)
		}
	})
}

// A token is fetched anew before it ends; one that does not say when is asked for
// in each round, even of a room that tells of changes.
func TestRenewal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		oauth := func(id string) manifest.Expr {
			return manifest.Expr{{Reference: &manifest.Reference{Target: manifest.Target{Scheme: manifest.SchemeRoom, Path: "oauth/" + id}}}}
		}
		long, short := time.Now().Add(30*time.Minute), time.Now().Add(time.Minute)
		h := newPushing(map[string]any{"long": jwt(long), "short": jwt(short), "opaque": "1", "secret": "v"})
		snapshots := follow(t, &fetch.Refresher{Sources: mux(h), Interval: time.Hour}, file(oauth("long"), oauth("short"), oauth("opaque"), manifest.Expr{ref("secret")}))
		settle(time.Second)
		h.questions()

		settle(31 * time.Second) // half of it
		if n := h.questions(); n["short"] != 1 || len(n) != 1 {
			t.Errorf("asked %v", n)
		}
		h.put("short", jwt(long.Add(time.Hour)))
		settle(16 * time.Second)
		s := newest(t, snapshots, 1)
		if st := s.State(manifest.Target{Scheme: manifest.SchemeRoom, Path: "oauth/short"}); !st.Expires.Equal(long.Add(time.Hour)) {
			t.Errorf("the state is %+v", st)
		}
		h.questions()
		settle(time.Until(long) - 52*time.Second)
		if n := h.questions(); len(n) > 0 {
			t.Errorf("asked %v", n)
		}
		settle(3 * time.Second)
		if n := h.questions(); n["long"] != 1 || len(n) != 1 {
			t.Errorf("asked %v", n)
		}
		// A room that does not have another one yet is asked again, not too often.
		settle(50 * time.Second)
		if n := h.questions(); n["long"] < 3 || n["long"] > 8 || len(n) != 1 {
			t.Errorf("asked %v", n)
		}
		settle(66*time.Minute - 30*time.Minute)
		if n := h.questions(); n["opaque"] != 1 || n["long"] < 1 || n["long"] > 2 {
			t.Errorf("asked %v", n)
		}
	})
}

package manifest

import (
	"encoding/json"
	"net/url"
	"strings"
)

// A Target is the part of a [Reference] that decides what is fetched, with all that
// its source needs. Targets are comparable: equal ones are fetched once.
type Target struct {
	Scheme string // such as [SchemeRoom]
	Group  string // what is probed, watched and polled together: a room; "" is the default one
	Path   string // KIND/ID, without percent-encoding
	// Params are the keys of the query that decide the value, percent-encoded, in
	// one order for equal ones; see [Target.Param].
	Params string

	client string // JSON of the OAuthClient of a reference of KindOAuth
}

// Kind is the part of the path before the first slash.
func (t Target) Kind() Kind {
	kind, _, _ := strings.Cut(t.Path, "/")
	return Kind(kind)
}

// ID is the part of the path after the first slash: of a secret, of an OAuth client
// or of a participant.
func (t Target) ID() string {
	_, id, _ := strings.Cut(t.Path, "/")
	return id
}

// Param returns the value of a key of the query, "" for one that is not there.
func (t Target) Param(key string) string {
	params, _ := url.ParseQuery(t.Params) // as setParams wrote it
	return params.Get(key)
}

// encode percent-encodes a key or value of a query, where "+" has two meanings.
func encode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// String returns the target as a reference. What the OAuth client is, is not in it.
func (t Target) String() string {
	var b strings.Builder
	b.WriteString(t.Scheme + ":")
	if t.Group != "" {
		b.WriteString("//" + t.Group + "/")
	}
	// PathEscape leaves '$', which the manifest keeps for variables.
	b.WriteString(string(t.Kind()) + "/" + strings.ReplaceAll(url.PathEscape(t.ID()), "$", "%24"))
	if t.Params != "" {
		b.WriteString("?" + t.Params)
	}
	return b.String()
}

// Target returns the target of the access token of c, whose name is name.
func (c OAuthClient) Target(name string) Target {
	t := Target{Scheme: SchemeRoom, Path: string(KindOAuth) + "/" + name}
	t.setClient(c)
	return t
}

func (t *Target) setClient(c OAuthClient) {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // of texts, lists of them and booleans
	}
	t.client = string(b)
}

// OAuthClient returns the client of a reference of [KindOAuth]. It is false for a
// target of another kind, and for one that has no client yet, see
// [OAuthClient.Target].
func (t Target) OAuthClient() (c OAuthClient, ok bool) {
	return c, json.Unmarshal([]byte(t.client), &c) == nil
}

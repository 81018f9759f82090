package manifest

import (
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// A Reference names a value of a source: SCHEME:KIND/ID?QUERY#FIELD, or
// SCHEME://GROUP/KIND/ID for another group, such as a room, than the default one.
type Reference struct {
	Target
	Field    string  // path into a JSON value, "" for the value itself
	Optional bool    // unset rather than an error when missing
	Default  *string // used if the value is missing
	Base64   bool    // encode the value as standard base64

	syntax
}

// syntax is what a reference says of the entry or the file that it is in. Load takes it
// out.
type syntax struct {
	file      string // path of a file for the value, or ownName
	mode      fs.FileMode
	expiresAt bool // NAME_EXPIRES_AT is an entry too
	policy
}

// String returns the reference without the part of the query that does not decide the
// value: a default may be a secret.
func (r Reference) String() string {
	if r.Field == "" {
		return r.Target.String()
	}
	return r.Target.String() + "#" + (&url.URL{Fragment: r.Field}).EscapedFragment()
}

const (
	// reservedScheme and reservedKey are not taken for something else now, since a
	// later version gives them a meaning.
	reservedScheme = "account"
	reservedKey    = "broker"

	maxTimeout = 3600 // seconds, as long as a room waits

	textOnly = "percent-encode UTF-8 without NUL"
)

var (
	kinds = []string{string(KindSecret), string(KindOAuth), string(KindRequest)}
	hints = map[string]string{
		"":                  "write room:secret/ID, or room://ROOM/secret/ID for another room",
		string(KindSecret):  "write room:secret/ID",
		string(KindOAuth):   "write room:oauth/CLIENT, where CLIENT is under oauth: in a YAML manifest",
		string(KindRequest): "write room:request/PARTICIPANT?url=URL&type=TYPE",
	}

	// targetKeys are the keys of a query that decide what is fetched from a room.
	targetKeys = map[Kind]keys[spec]{
		KindSecret: {
			param("type", plainText, "Media type that the secret must have."),
			param("name", plainText, "Name that the secret must have."),
			param("delegated_to", plainText, "Participant that the secret is delegated to, if not this identity."),
			param("delegated_by", plainText, "Participant who delegated the secret to this identity; no other one may."),
		},
		KindOAuth: {
			param("delegated_to", plainText, "Participant that the token is delegated to, if not this identity."),
			param("delegated_by", plainText, "Participant who authorized the client, if not this identity."),
			param("from", plainText, "Approver to ask if there is no token; overrides `from` of the client."),
		},
		KindRequest: {
			param("url", plainText, "Purpose of the secret, by custom a URL.").always(),
			param("type", plainText, "Type of the secret, such as `text/plain`; `git` is a user name and a password as JSON.").always(),
			param("delegate_to", plainText, "Participant to store the secret for, if not this identity."),
			param("timeout", seconds, "How long to wait for the answer, in seconds or as a duration such as `2m` (default 300)."),
		},
	}
	// attributeKeys are those of all references.
	attributeKeys = keys[spec]{
		on("optional", boolean, "Leaves the variable unset if the value is missing.", func(v *spec, is bool) { v.Optional = is }),
		on("default", verbatim, "Used if the value is missing; may be empty.", func(v *spec, text string) { v.Default = &text }),
		on("encoding", oneOf("base64"), "Encodes the value in standard base64.", func(v *spec, _ string) { v.Base64 = true }),
	}
	// pathKeys are those of a reference whose value goes to a file.
	pathKeys = keys[spec]{
		on("file", destination, "Writes the value to this file; the variable holds its path. `true`: to the file NAME, and NAME_FILE holds the path instead of NAME.", func(v *spec, path string) { v.file = path }),
		modeKey.needing("file"),
	}
	expiresKey = on("expires_at", boolean, "Sets NAME_EXPIRES_AT to the time when the token expires (RFC 3339).", func(v *spec, is bool) { v.expiresAt = is })
	requestKey = on(string(KindRequest), anyMapping("request"), "What to ask a participant for if the room does not store it.", func(v *spec, f field) { v.request = f })
	fromKey    = on("from", plainText, "The approver.", func(v *spec, id string) { v.Path += id }).always()

	// groupKeys are those that a reference has outside of its query.
	groupKeys = keys[spec]{
		on("room", matching("text", "1 to 63 characters of a-z, 0-9 and -", `^[a-z0-9-]{1,63}$`), "Room, if not the default one.", func(v *spec, room string) { v.Group = room }),
		on("field", matching("text", "a key, or a JSON Pointer (RFC 6901) where ~0 is ~ and ~1 is /", `^([^/][\s\S]*|(/([^~/]|~[01])*)+)$`), "Part of a JSON value: a key of the object, or a JSON Pointer (RFC 6901) such as `/a/0`.", func(v *spec, f string) { v.Field = f }),
	}

	// seconds is what the room takes: 120, or the same as 120s or 2m.
	seconds = kind[string]{"seconds or duration", fmt.Sprintf(`{"anyOf": [{"type": "integer", "minimum": 1, "maximum": %d}, {"$ref": "#/$defs/duration"}]}`, maxTimeout), func(s *source, f field) string {
		text := f.value.text
		if _, err := strconv.ParseUint(text, 10, 32); err == nil && f.value.kind != textNode {
			text += "s"
		}
		d, err := time.ParseDuration(text)
		switch {
		case err != nil || d <= 0 || f.value.kind != numberNode && f.value.kind != textNode && f.value.kind != queryNode:
			s.invalid(f, "a number of seconds, or a duration such as 2m")
		case d > maxTimeout*time.Second || d%time.Second != 0:
			s.invalid(f, fmt.Sprintf("whole seconds from 1 to %d", maxTimeout))
		}
		return strconv.Itoa(int(d / time.Second))
	}}

	schemePattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`) })
	reserved      = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z]+/`) })
)

// param is a key of a target.
func param(name string, k kind[string], doc string) key[spec] {
	return on(name, k, doc, func(v *spec, value string) { v.set(name, value) })
}

// set stores a parameter of the target.
func (v *spec) set(name, value string) {
	if v.params == nil {
		v.params = url.Values{}
	}
	v.params.Set(name, value)
}

// setParams ends a spec: the parameters of a target of a room are in the order in which
// they are documented, those of another scheme sorted.
func (v *spec) setParams() {
	if v.params == nil {
		return
	}
	names := slices.Sorted(maps.Keys(v.params))
	if v.Scheme == SchemeRoom {
		names = targetKeys[v.Kind()].names()
	}
	var all []string
	for _, name := range names {
		if v.params.Has(name) {
			all = append(all, encode(name)+"="+encode(v.params.Get(name)))
		}
	}
	v.Params = strings.Join(all, "&")
}

var (
	// anyQuery are the keys of each query. Others than these are known to the source of
	// another scheme than a room's alone.
	anyQuery = join(attributeKeys, pathKeys, policyKeys)
	// roomQuery are the keys of the query of a room's reference.
	roomQuery = map[Kind]keys[spec]{
		KindSecret:  join(targetKeys[KindSecret], anyQuery),
		KindOAuth:   join(targetKeys[KindOAuth], anyQuery, keys[spec]{expiresKey}),
		KindRequest: join(targetKeys[KindRequest], anyQuery),
	}
)

func (t Target) isOAuth() bool { return t.Scheme == SchemeRoom && t.Kind() == KindOAuth }

var requestKeys = join(keys[spec]{fromKey}, targetKeys[KindRequest])

// schemes are those of the references of a manifest, SchemeRoom first.
type schemes []string

// of returns the scheme of a text that is one reference, or "".
func (k schemes) of(text string) string {
	if kind, ok := strings.CutPrefix(text, reservedScheme+":"); ok && reserved().MatchString(kind) {
		return reservedScheme
	}
	for _, scheme := range k {
		if strings.HasPrefix(text, scheme+":") {
			return scheme
		}
	}
	return ""
}

// hint is for a scheme that is not one of k.
func (k schemes) hint(scheme string) string {
	if near := nearest(scheme, k...); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "a reference starts with " + strings.Join(k, ": or ") + ":"
}

// parseReference parses SCHEME:KIND/ID?QUERY#FIELD or SCHEME://GROUP/KIND/ID, a URI
// (RFC 3986): other characters than those of a URI are percent-encoded. The offset of its
// fault is into text; its message does not quote text.
func (k schemes) parseReference(text string) (Reference, *fault) {
	s := &source{schemes: k}
	var v spec
	s.reference(&v, text)
	if len(s.fault) > 0 {
		first := slices.MinFunc(s.fault, func(a, b fault) int { return a.off - b.off })
		return Reference{}, &first
	}
	v.setParams()
	return v.Reference, nil
}

func (s *source) reference(v *spec, text string) {
	v.Scheme = s.of(text)
	switch written, _, ok := strings.Cut(text, ":"); {
	case v.Scheme == reservedScheme:
		s.fail(0, "the scheme account: is reserved", "write single quotes around a text in a .env-style file, or {value: TEXT} in YAML")
	case v.Scheme == "" && ok && schemePattern().MatchString(written):
		s.fail(0, "unknown scheme", s.hint(written))
	case v.Scheme == "":
		s.fail(0, "a reference starts with room:", hints[""])
	default:
		s.checkURI(text)
	}
	if len(s.fault) > 0 {
		return
	}
	path, fragment, hasFragment := strings.Cut(text, "#")
	path, query, hasQuery := strings.Cut(path, "?")
	off := len(v.Scheme) + 1
	if after, ok := strings.CutPrefix(path[off:], "//"); ok {
		off += len("//")
		group, _, _ := strings.Cut(after, "/")
		groupKeys.find("room").set(s, v, queryField("room", group, off))
		off = min(off+len(group)+1, len(path))
	}
	kind, id, _ := strings.Cut(path[off:], "/")
	switch {
	case kind == "":
		s.fail(off, "missing kind in reference", hints[""])
	case v.Scheme == SchemeRoom && !slices.Contains(kinds, kind):
		s.fail(off, "unknown kind of reference", didYouMean(kind, kinds...))
	}
	off = min(off+len(kind)+1, len(path))
	id, ok := decode(id)
	switch {
	case !ok:
		s.fail(off, "invalid ID: want text", textOnly)
	case id == "":
		s.fail(off, "missing ID in reference", hints[kind])
	}
	v.Path = kind + "/" + id
	ks := anyQuery
	if v.Scheme == SchemeRoom {
		ks = roomQuery[v.Kind()]
	}
	var fields []field
	if hasQuery {
		fields = s.queryFields(query, len(path)+1, ks)
	}
	s.query(v, field{kind, off, node{fields: fields}}, ks)
	if hasFragment {
		off := len(text) - len(fragment)
		fragment, ok := decode(fragment)
		if !ok {
			s.fail(off, "invalid field: want text", textOnly)
		}
		groupKeys.find("field").set(s, v, queryField("field", fragment, off))
	}
}

// queryField returns a field whose value is text, whatever its key wants.
func queryField(key, text string, off int) field {
	return field{key, off, node{kind: queryNode, off: off, text: text}}
}

// queryFields reads the query of a reference, which starts at off and has keys of ks, up to
// the first error.
func (s *source) queryFields(query string, off int, ks keys[spec]) (fields []field) {
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, hasValue := strings.Cut(pair, "=")
		f := queryField(key, "", off)
		f.value.off += min(len(key)+1, len(pair))
		var ok bool
		f.value.text, ok = decode(value)
		switch {
		case strings.ContainsAny(pair, "+;"):
			// "+" is a plus to RFC 3986 and a space to HTML forms; ";" was once "&".
			s.fail(off+strings.IndexAny(pair, "+;"), `"+" and ";" are ambiguous in a query`, "write %2B for a plus, %20 for a space and %3B for a semicolon")
		case !ok:
			s.fail(f.value.off, "invalid value: want text", textOnly)
		case seen[key]:
			s.fail(off, "duplicate key", "delete one")
		case !hasValue && ks.find(key) != nil:
			s.fail(f.value.off, "missing value", "write "+key+"=VALUE")
		}
		if len(s.fault) > 0 {
			return nil
		}
		seen[key] = true
		fields = append(fields, f)
		off += len(pair) + 1
	}
	return fields
}

// query stores the fields of a query.
func (s *source) query(v *spec, query field, ks keys[spec]) {
	ks.read(s, query, v, func(f field) {
		name, ok := decode(f.key)
		switch {
		case v.Scheme == SchemeRoom || name == "" || name == reservedKey:
			s.unknown(f, ks.names())
		case !ok:
			s.fail(f.off, "invalid key: want text", textOnly)
		default:
			v.set(name, f.value.text)
		}
	})
	s.checkStale(query.value.fields, v.policy)
}

// isQueryKey reports whether key is one of any kind.
func isQueryKey(key string) bool {
	for _, ks := range roomQuery {
		if ks.find(key) != nil {
			return true
		}
	}
	return false
}

// checkURI finds what is not a character of a URI's path, query or fragment.
func (s *source) checkURI(text string) {
	fragment := strings.IndexByte(text, '#')
	for i := 0; i < len(text) && len(s.fault) == 0; i++ {
		switch c := text[i]; {
		case c == '$':
			s.fail(i, `"$" in a reference`, "write %24 for a dollar sign: a reference is the same in every environment")
		case c == '%' && (i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2])):
			s.fail(i, `"%" is not followed by two hexadecimal digits`, "write %25 for a percent sign")
		case c == '#' && i != fragment:
			s.fail(i, `a second "#"`, "write %23 in the name of a field")
		case c != '#' && !isURI(c):
			s.fail(i, "invalid character in a reference", "percent-encode it: a space is %20")
		}
	}
}

func isURI(c byte) bool {
	return isName(c) || strings.IndexByte("-.~:/?#@!&'()*+,;=%", c) >= 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// decode undoes percent-encoding; checkURI has seen that only the bytes that it stands for
// can be at fault.
func decode(s string) (string, bool) {
	s, err := url.PathUnescape(s)
	return s, err == nil && utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

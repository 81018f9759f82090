package manifest

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	referenceHint = "write room:secret/ID, or room://ROOM/secret/ID for another room"
	oauthHint     = "write room:oauth/CLIENT, a client that a YAML manifest describes below oauth:"
	requestHint   = "write room:request/PARTICIPANT?url=URL&type=TYPE"

	timeoutKey = "timeout"
	maxTimeout = 3600 // seconds
)

var (
	kinds = []string{string(KindSecret), string(KindOAuth), string(KindRequest)}
	hints = map[Kind]string{KindSecret: referenceHint, KindOAuth: oauthHint, KindRequest: requestHint}

	// The keys of a query: those of a target of a room, by its kind, and those of all.
	targetKeys = map[Kind][]string{
		KindSecret:  {"type", "name", "delegated_to"},
		KindOAuth:   {"delegated_to", "delegated_by", "from"},
		KindRequest: {"url", "type", "delegate_to", timeoutKey},
	}
	valueKeys = []string{"optional", "default", "encoding", "file", "mode"}
	// keepingKeys are those of a [Keeping], which are of references, of values and
	// of files.
	keepingKeys = []string{onChangeKey, maxStaleKey, thenKey, onRevokedKey}

	roomName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	pointer  = regexp.MustCompile(`^(/([^~/]|~[01])*)+$`)

	schemePattern = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)
	reserved      = regexp.MustCompile(`^account:[a-z]+/`)
)

// What later versions will give a meaning is not taken for something else now.
const (
	reservedScheme     = "account"
	literalHint        = "write single quotes around it in a .env-style file, or {value: TEXT} in YAML, if it is a text"
	reservedKey        = "broker"
	reservedKeyMessage = "the key broker is reserved"
	reservedKeyHint    = "leave it out: this version passes every value to the command"
)

// schemes are those of the references of a manifest, SchemeRoom first.
type schemes []string

// setTimeout sets a number of whole seconds, as many as a room waits.
func (t *Target) setTimeout(s string) (message, hint string) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n < 1 || n > maxTimeout {
		return "the timeout is no number of seconds", fmt.Sprintf("write 1 to %d", maxTimeout)
	}
	t.setParam(timeoutKey, strconv.FormatUint(n, 10))
	return "", ""
}

// attributeKeys are the keys of all references of a kind that say nothing on
// what is asked for.
func attributeKeys(kind Kind) []string {
	keys := slices.Concat(valueKeys, keepingKeys)
	if kind == KindOAuth {
		keys = append(keys, expiresAtKey)
	}
	return keys
}

// queryKeys are all keys of a reference of a kind.
func queryKeys(kind Kind) []string { return slices.Concat(targetKeys[kind], attributeKeys(kind)) }

// isQueryKey reports whether key is one of any kind.
func isQueryKey(key string) bool {
	targets := slices.Concat(targetKeys[KindSecret], targetKeys[KindOAuth], targetKeys[KindRequest])
	return slices.Contains(targets, key) || slices.Contains(attributeKeys(KindOAuth), key)
}

// of returns the scheme of a text that is one reference; "" is a text that is
// none.
func (k schemes) of(text string) string {
	if reserved.MatchString(text) {
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
// (RFC 3986): what is no URI character is percent-encoded. The offset of its fault
// is into s, which its texts do not quote.
func (k schemes) parseReference(s string) (Reference, *fault) {
	scheme := k.of(s)
	switch written, _, ok := strings.Cut(s, ":"); {
	case scheme == reservedScheme:
		return Reference{}, &fault{0, "the scheme account: is reserved", literalHint}
	case scheme == "" && ok && schemePattern.MatchString(written):
		return Reference{}, &fault{0, "unknown scheme", k.hint(written)}
	case scheme == "":
		return Reference{}, &fault{0, "a reference starts with room:", referenceHint}
	}
	if f := checkURI(s); f != nil {
		return Reference{}, f
	}
	path, fragment, hasFragment := strings.Cut(s, "#")
	path, query, hasQuery := strings.Cut(path, "?")

	r := Reference{Target: Target{Scheme: scheme}}
	at := len(scheme + ":")
	if rest, ok := strings.CutPrefix(path[at:], "//"); ok {
		at += len("//")
		r.Group, _, ok = strings.Cut(rest, "/")
		if message, hint := checkRoom(r.Group); message != "" {
			return Reference{}, &fault{at, message, hint}
		}
		at += len(r.Group)
		if !ok {
			return Reference{}, &fault{at, "the reference has no kind", referenceHint}
		}
		at++
	}
	kind, id, ok := strings.Cut(path[at:], "/")
	switch {
	case kind == "":
		return Reference{}, &fault{at, "the reference has no kind", referenceHint}
	case scheme == SchemeRoom && !slices.Contains(kinds, kind):
		return Reference{}, &fault{at, "unknown kind of reference", didYouMean(kind, kinds...)}
	}
	at += len(kind)
	if ok {
		at++
	}
	if id, ok = decode(id); !ok {
		return Reference{}, &fault{at, "the id is not text", "percent-encode UTF-8 without NUL"}
	}
	r.Path = kind + "/" + id
	if id == "" {
		return Reference{}, &fault{at, "the reference has no id", hints[r.Kind()]}
	}
	if hasQuery {
		if f := r.parseQuery(query); f != nil {
			f.off += len(path) + 1
			return Reference{}, f
		}
	}
	if message := r.incomplete(); message != "" {
		return Reference{}, &fault{at, message, hints[r.Kind()]}
	}
	if hasFragment {
		at = len(s) - len(fragment)
		if r.Field, ok = decode(fragment); !ok {
			return Reference{}, &fault{at, "the field is not text", "percent-encode UTF-8 without NUL"}
		}
		if message, hint := checkField(r.Field); message != "" {
			return Reference{}, &fault{at, message, hint}
		}
	}
	return r, nil
}

// incomplete says what a target lacks, beside its ID.
func (t Target) incomplete() string {
	switch {
	case t.Scheme != SchemeRoom || t.Kind() != KindRequest:
		return ""
	case t.Param("url") == "":
		return "the request has no url"
	case t.Param("type") == "":
		return "the request has no type"
	}
	return ""
}

func (r *Reference) parseQuery(query string) *fault {
	// The keys of a target that is not a room's are known to its source alone.
	foreign := r.Scheme != SchemeRoom
	keys, seen := attributeKeys(r.Kind()), map[string]bool{}
	if !foreign {
		keys = queryKeys(r.Kind())
	}
	at := 0
	for pair := range strings.SplitSeq(query, "&") {
		key, text, hasValue := strings.Cut(pair, "=")
		valueAt := at + min(len(key)+1, len(pair))
		value, ok := decode(text)
		switch {
		case strings.ContainsAny(pair, "+;"):
			// "+" is a plus to RFC 3986 and a space to HTML forms; ";" was once "&".
			return &fault{at + strings.IndexAny(pair, "+;"), `"+" and ";" are ambiguous in a query`, "write %2B for a plus, %20 for a space and %3B for a semicolon"}
		case !ok:
			return &fault{valueAt, "the value is not text", "percent-encode UTF-8 without NUL"}
		case seen[key]:
			return &fault{at, "the key is there twice", "remove one"}
		case !hasValue && slices.Contains(keys, key):
			return &fault{valueAt, "the key has no value", "write " + key + "=VALUE"}
		}
		seen[key] = true
		switch {
		case key == reservedKey:
			return &fault{at, reservedKeyMessage, reservedKeyHint}
		case !slices.Contains(keys, key) && (!foreign || key == ""):
			return &fault{at, "unknown key in the reference", didYouMean(key, keys...)}
		case !slices.Contains(keys, key):
			name, ok := decode(key)
			if !ok {
				return &fault{at, "the key is not text", "percent-encode UTF-8 without NUL"}
			}
			r.setParam(name, value)
		case value == "" && key != "default":
			return &fault{valueAt, key + " is empty", "leave it out"}
		case key == "optional", key == expiresAtKey:
			if value != "true" && value != "false" {
				return &fault{valueAt, key + " is neither true nor false", "write " + key + "=true"}
			}
			if key == expiresAtKey {
				r.ExpiresAt = value == "true"
			} else {
				r.Optional = value == "true"
			}
		case key == "default":
			r.Default = &value
		case key == "encoding":
			if value != "base64" {
				return &fault{valueAt, "unknown encoding", "write encoding=base64, or leave it out"}
			}
			r.Base64 = true
		case key == timeoutKey:
			if message, hint := r.setTimeout(value); message != "" {
				return &fault{valueAt, message, hint}
			}
		case key == "file", key == "mode":
			if message, hint := r.setFile(key, value); message != "" {
				return &fault{valueAt, message, hint}
			}
		case slices.Contains(keepingKeys, key):
			if message, hint := r.setKeeping(key, value); message != "" {
				return &fault{valueAt, message, hint}
			}
		default:
			r.setParam(key, value)
		}
		at += len(pair) + 1
	}
	if r.OnStale != "" && r.MaxStale <= 0 {
		return &fault{0, thenAlone, "write max_stale=10m&then=stop"}
	}
	if r.Mode != 0 && r.File == "" {
		return &fault{0, "mode is there without file", "write file=PATH&mode=0400"}
	}
	return nil
}

func checkRoom(s string) (message, hint string) {
	if !roomName.MatchString(s) {
		return "not the name of a room", "a name has 1 to 63 characters of a-z, 0-9 and -"
	}
	return "", ""
}

// checkField checks what selects a part of a JSON value: an RFC 6901 pointer
// if it starts with "/", else a key of the object.
func checkField(s string) (message, hint string) {
	switch {
	case s == "":
		return "the field is empty", "write #KEY or #/a/b, or leave the # out"
	case s[0] == '/' && !pointer.MatchString(s):
		return `"~" in a JSON pointer is not followed by 0 or 1`, "write ~0 for ~ and ~1 for / (RFC 6901)"
	}
	return "", ""
}

// checkURI finds what is no character of a URI's path, query or fragment.
func checkURI(s string) *fault {
	fragment := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '$':
			return &fault{i, `"$" in a reference`, "a reference is the same in every environment: write %24 if a dollar sign is meant"}
		case c == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])):
			return &fault{i, `"%" is not followed by two hexadecimal digits`, "write %25 for a percent sign"}
		case c == '#' && fragment:
			return &fault{i, `a second "#"`, "write %23 in a field's name"}
		case c == '#':
			fragment = true
		case !isURI(c):
			return &fault{i, "a character that a reference cannot hold", "percent-encode it: a space is %20"}
		}
	}
	return nil
}

func isURI(c byte) bool {
	return isName(c) || strings.IndexByte("-.~:/?#@!&'()*+,;=%", c) >= 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// decode undoes percent-encoding; checkURI has seen that there is no other
// fault than the bytes it stands for.
func decode(s string) (string, bool) {
	s, err := url.PathUnescape(s)
	return s, err == nil && utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

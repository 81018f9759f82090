package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
)

// A Hasher detects that a value changed, without the previous value. Its key is random:
// without it, sums do not help to guess values.
type Hasher struct{ key [sha256.Size]byte }

// A Sum stands for a value; sums of one [Hasher] can be compared with ==.
type Sum [sha256.Size]byte

// NewHasher returns a Hasher with a new key.
func NewHasher() *Hasher {
	h := new(Hasher)
	_, _ = rand.Read(h.key[:]) // which does not fail
	return h
}

// Sum returns the HMAC-SHA256 of v (RFC 2104).
func (h *Hasher) Sum(v Value) (s Sum) {
	mac := hmac.New(sha256.New, h.key[:])
	mac.Write(v.Reveal())
	mac.Sum(s[:0])
	return s
}

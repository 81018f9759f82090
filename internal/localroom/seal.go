package localroom

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/roomenv/roomenv/secret"
)

// KeySize is the length of a room key, in bytes.
const KeySize = 32

// Uses of the room key. Each has a key of its own, derived by HKDF (RFC 5869) with the
// use as info string.
const (
	forSealing   = "roomenv room sealing v1"
	forAddresses = "roomenv room addresses v1"
	forTokens    = "roomenv room tokens v1"
	forCheck     = "roomenv room check v1"
	forSums      = "roomenv room sums v1"
)

// A kind of sealed record. A record of one kind is not accepted as another.
type kind string

const (
	kindInfo   kind = "info"
	kindValue  kind = "value"
	kindTotals kind = "totals"
	kindState  kind = "state" // of a file that was closed
)

var errUnsealed = errors.New("decryption failed")

// A sealer encrypts what is in the file of a store.
type sealer struct {
	aead      cipher.AEAD
	addresses []byte
	check     []byte
	sums      []byte
	tokens    secret.Value
}

func newSealer(key secret.Value) (*sealer, error) {
	if key.Len() != KeySize {
		return nil, fmt.Errorf("invalid room key: got %d bytes, want %d", key.Len(), KeySize)
	}
	derive := func(use string) []byte {
		// The only error is about a length that SHA-256 cannot give.
		k, _ := hkdf.Key(sha256.New, key.Reveal(), nil, use, KeySize)
		return k
	}
	aead, err := chacha20poly1305.NewX(derive(forSealing))
	if err != nil {
		return nil, err
	}
	return &sealer{aead, derive(forAddresses), derive(forCheck), derive(forSums), secret.New(derive(forTokens))}, nil
}

// seal returns a random nonce and the encrypted plaintext. [sealer.open] needs the same
// kind, address and version.
func (s *sealer) seal(k kind, address []byte, version uint64, plaintext []byte) []byte {
	box := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plaintext)+s.aead.Overhead())
	_, _ = rand.Read(box) // never fails
	return s.aead.Seal(box, box, plaintext, associated(k, address, version))
}

func (s *sealer) open(k kind, address []byte, version uint64, box []byte) ([]byte, error) {
	if len(box) < chacha20poly1305.NonceSizeX {
		return nil, errUnsealed
	}
	nonce, sealed := box[:chacha20poly1305.NonceSizeX], box[chacha20poly1305.NonceSizeX:]
	plaintext, err := s.aead.Open(nil, nonce, sealed, associated(k, address, version))
	if err != nil {
		return nil, errUnsealed
	}
	return plaintext, nil
}

func associated(k kind, address []byte, version uint64) []byte {
	b := append([]byte(k), 0)
	b = binary.BigEndian.AppendUint64(b, version)
	return append(b, address...)
}

// A sum is that of a set of boxes: the exclusive or of their keyed hashes, to which
// boxes are added in any order, and from which they are taken away. It is useless
// without the key, and sealed itself (Clarke et al., Incremental Multiset Hash Functions
// and Their Application to Memory Integrity Checking, 2003).
type sum [sha256.Size]byte

// The ends of a box that stand for it: its nonce and its authenticator, which no two
// boxes share.
const (
	boxHead = chacha20poly1305.NonceSizeX
	boxTail = chacha20poly1305.Overhead
)

// toggle adds a box with these ends to t, or takes it away.
func (s *sealer) toggle(t *sum, k kind, address, ends []byte) {
	mac := hmac.New(sha256.New, s.sums)
	mac.Write(associated(k, address, 0))
	mac.Write(ends)
	subtle.XORBytes(t[:], t[:], mac.Sum(nil))
}

func ends(box []byte) []byte {
	if len(box) < boxHead+boxTail {
		return box
	}
	return slices.Concat(box[:boxHead], box[len(box)-boxTail:])
}

// addressPart is the length of one part of a database key.
const addressPart = 16

// part returns a keyed hash of names. Each name is hashed with its length, so that
// different lists differ.
func (s *sealer) part(names ...string) []byte {
	mac := hmac.New(sha256.New, s.addresses)
	for _, n := range names {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(n)))
		mac.Write(length[:])
		mac.Write([]byte(n))
	}
	return mac.Sum(nil)[:addressPart]
}

// The key of a record in the database has three parts: hashes of its room, of its
// owner in the room, and of the rest of its [RecordKey]. The last part does not depend
// on the owner, so that secrets that are delegated to an identity are found without
// decryption.

func (s *sealer) ownerPrefix(room, owner string) []byte {
	return append(s.part("room", room), s.part("owner", room, owner)...)
}

func (s *sealer) suffix(a RecordKey) []byte {
	return s.part("entry", a.Room, a.DelegatedTo, a.ID)
}

func (s *sealer) recordKey(a RecordKey) []byte {
	return append(s.ownerPrefix(a.Room, a.Owner), s.suffix(a)...)
}

// A store of format 1 has no sum in its totals.
const formatVersion = 2

// checkRecord returns the record by which a wrong key differs from damage: the format
// version, a hash of the key, and a checksum of both.
func (s *sealer) checkRecord() []byte {
	b := append([]byte{formatVersion}, s.check...)
	sum := sha256.Sum256(b)
	return append(b, sum[:4]...)
}

func (s *sealer) verifyCheckRecord(record []byte) error {
	want := s.checkRecord()
	if len(record) != len(want) {
		return fmt.Errorf("%w: missing or truncated check record", ErrDamaged)
	}
	body := record[:len(record)-4]
	if sum := sha256.Sum256(body); string(sum[:4]) != string(record[len(body):]) {
		return fmt.Errorf("%w: invalid check record", ErrDamaged)
	}
	if body[0] == 0 || body[0] > formatVersion {
		return fmt.Errorf("unsupported store format %d, want %d; use a newer roomenv", body[0], formatVersion)
	}
	if !hmac.Equal(body[1:], s.check) {
		return ErrWrongKey
	}
	return nil
}

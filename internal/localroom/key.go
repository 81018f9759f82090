package localroom

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/roomenv/roomenv/internal/trustedpath"
	"github.com/roomenv/roomenv/secret"
)

// ParseKey decodes a room key: 32 bytes in base64 or hex. It ignores white space around
// it.
func ParseKey(text secret.Value) (secret.Value, error) {
	b := bytes.TrimSpace(text.Reveal())
	var key []byte
	var err error
	switch len(b) {
	case hex.EncodedLen(KeySize):
		key, err = hex.AppendDecode(nil, b)
	case base64.StdEncoding.EncodedLen(KeySize), base64.RawStdEncoding.EncodedLen(KeySize):
		key, err = base64.RawStdEncoding.AppendDecode(nil, bytes.TrimRight(b, "="))
	default:
		err = errors.New("wrong length")
	}
	// The error of a decoder quotes its input.
	if err != nil || len(key) != KeySize {
		return secret.Value{}, fmt.Errorf("invalid room key: want %d bytes in base64 or hex", KeySize)
	}
	return secret.New(key), nil
}

// createKey creates the key file unless it exists.
func createKey(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // never fails
	return createFile(path, writeKey(secret.New(key)))
}

func writeKey(key secret.Value) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.WriteString(base64.StdEncoding.EncodeToString(key.Reveal()) + "\n")
		return err
	}
}

// currentKey returns the key of the room, which another process may have rotated. It
// completes a rotation that was interrupted after the store got the next key.
func (r *Room) currentKey() (secret.Value, error) {
	if r.options.Key.Len() > 0 {
		return r.options.Key, nil
	}
	next, err := readKey(r.path(nextKeyFile))
	if err == nil && hasKey(r.path(storeFile), next) {
		err = r.adoptKey()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, err
	}
	return readKey(r.path(keyFile))
}

// adoptKey makes the next key that of the room. Another process may have done so.
func (r *Room) adoptKey() error {
	if err := os.Rename(r.path(nextKeyFile), r.path(keyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(r.dir)
}

// hasKey reports whether the store at path is encrypted with key.
func hasKey(path string, key secret.Value) bool {
	f, err := openReadOnly(path)
	if err != nil {
		return false
	}
	defer f.Close()
	seal, err := newSealer(key)
	if err != nil {
		return false
	}
	snap, _, err := newest(f)
	if err != nil {
		return false
	}
	c, err := seal.read(snap)
	return err == nil && c.checkKey() == nil
}

// readKey reads the key file, which other users must not be able to read or replace.
func readKey(path string) (secret.Value, error) {
	f, err := openReadOnly(path)
	if err != nil {
		return secret.Value{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return secret.Value{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return secret.Value{}, fmt.Errorf("%s is readable by other users; run chmod 600, and rotate every secret if it was exposed", path)
	}
	if err := trustedpath.Check(path); err != nil {
		return secret.Value{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return secret.Value{}, err
	}
	key, err := ParseKey(secret.New(text))
	if err != nil {
		return secret.Value{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

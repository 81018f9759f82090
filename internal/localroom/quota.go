package localroom

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/roomenv/roomenv/secret"
)

// DefaultQuota is for `room serve`, in bytes.
const DefaultQuota = 128 << 20

// recordCost is what a secret counts besides its value, in bytes.
const recordCost = 1 << 10

// errQuota means that an identity has stored as much as it may.
var errQuota = errors.New("quota exceeded")

// maxUsage bounds the owners whose usage is remembered.
const maxUsage = 1024

// quota bounds what s may store.
func (s *session) quota() int64 {
	if s.account.pool == s.server.local {
		return 0
	}
	return s.server.quota
}

// setWithin is [Store.Set] for an owner that may store quota bytes; 0 is no limit.
func (s *Store) setWithin(quota int64, a RecordKey, typ, name string, value secret.Value) error {
	return s.set(a, typ, name, value, func(b *batch, info Info) error {
		if quota == 0 {
			return nil
		}
		used := b.used(info)
		after := used + cost(value.Len()) - b.stored(b.seal.recordKey(info.RecordKey))
		if after > quota && after > used {
			return fmt.Errorf("%w: this identity may store %d MiB", errQuota, quota>>20)
		}
		return nil
	})
}

func cost(size int) int64 { return int64(size) + recordCost }

// stored returns the cost of the secret with this key, 0 if it does not exist.
func (b *batch) stored(key []byte) int64 {
	if box := b.values.Get(key); box != nil {
		return cost(len(box))
	}
	return 0
}

// used returns the cost of all secrets of an owner. It counts them once, and remembers
// the sum until a commit fails.
func (b *batch) used(of Info) int64 {
	prefix := b.seal.ownerPrefix(of.Room, of.Owner)
	if used, ok := b.usage[string(prefix)]; ok {
		return used
	}
	var used int64
	c := b.values.Cursor()
	for key, box := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, box = c.Next() {
		used += cost(len(box))
	}
	if b.usage == nil || len(b.usage) >= maxUsage {
		b.usage = map[string]int64{}
	}
	b.usage[string(prefix)] = used
	return used
}

// count notes that the secret of info is about to have this cost.
func (b *batch) count(of Info, now int64) {
	prefix := string(b.seal.ownerPrefix(of.Room, of.Owner))
	if used, ok := b.usage[prefix]; ok {
		b.usage[prefix] = used + now - b.stored(b.seal.recordKey(of.RecordKey))
	}
}

package localroom

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	if s.allowance.pool == s.server.local {
		return 0
	}
	return s.server.quota
}

// setWithin is [Store.Set] for an owner that may store quota bytes; 0 for any number.
func (s *Store) setWithin(quota int64, a RecordKey, typ, name string, value secret.Value) error {
	return s.set(a, typ, name, value, func(b *batch, info Info) error { return b.permit(quota, info.RecordKey, value.Len()) })
}

// permit fails where [Store.setWithin] would, for a value of size bytes.
func (s *Store) permit(quota int64, a RecordKey, size int) error {
	return s.update(0, func(b *batch) error { return b.permit(quota, a, size) })
}

func (b *batch) permit(quota int64, a RecordKey, size int) error {
	if quota == 0 {
		return nil
	}
	used, err := b.used(a)
	if err != nil {
		return err
	}
	stored, err := b.stored(b.seal.recordKey(a))
	if after := used + cost(size) - stored; err == nil && after > quota && after > used {
		err = fmt.Errorf("%w: this identity may store %d MiB", errQuota, quota>>20)
	}
	return err
}

// setLatest is [Store.Set] that retains the latest n secrets of this owner, type and name;
// 0 retains all.
func (s *Store) setLatest(n int, a RecordKey, typ, name string, value secret.Value) error {
	return s.set(a, typ, name, value, func(b *batch, info Info) error {
		var others []Info
		err := s.scan(b, s.seal.ownerPrefix(a.Room, a.Owner), nil, func(i Info) {
			if i.RecordKey != info.RecordKey && i.Type == typ && i.Name == name {
				others = append(others, i)
			}
		})
		slices.SortFunc(others, func(a, b Info) int { return cmp.Compare(a.Updated, b.Updated) })
		for ; err == nil && n > 0 && len(others) >= n; others = others[1:] {
			err = b.delete(others[0])
		}
		return err
	})
}

func cost(size int) int64 { return int64(size) + recordCost }

// stored returns the cost of the secret with this key, 0 if it does not exist.
func (b *batch) stored(key []byte) (n int64, err error) {
	if c, ok := b.changed[string(key)]; ok {
		if c.info != nil {
			n = cost(len(c.value))
		}
		return n, nil
	}
	err = b.before.snapshot.scan(b.before.values, key, func(e element) error {
		n = cost(int(e.size))
		return nil
	})
	return n, err
}

// used returns the cost of all secrets of an owner. It counts them once, and remembers
// the sum until a commit fails.
func (b *batch) used(of RecordKey) (used int64, err error) {
	prefix := b.seal.ownerPrefix(of.Room, of.Owner)
	if used, ok := b.usage[string(prefix)]; ok {
		return used, nil
	}
	err = b.before.snapshot.visit(b.before.values, nil, nil, maxDepth, visitor{prefix: prefix, match: func(e element) error {
		if _, ok := b.changed[string(e.key)]; !ok {
			used += cost(int(e.size))
		}
		return nil
	}})
	for key, c := range b.changed {
		if c.info != nil && strings.HasPrefix(key, string(prefix)) {
			used += cost(len(c.value))
		}
	}
	if b.usage == nil || len(b.usage) >= maxUsage {
		b.usage = map[string]int64{}
	}
	if err == nil {
		b.usage[string(prefix)] = used
	}
	return used, err
}

// count notes that the secret of info is about to have this cost.
func (b *batch) count(info Info, key []byte, now int64) {
	prefix := string(b.seal.ownerPrefix(info.Room, info.Owner))
	used, ok := b.usage[prefix]
	if !ok {
		return
	}
	stored, err := b.stored(key)
	if b.usage[prefix] = used + now - stored; err != nil {
		delete(b.usage, prefix)
	}
}

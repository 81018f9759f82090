package localroom

import (
	"errors"
	"os"

	bolt "go.etcd.io/bbolt"
)

// build returns a function that writes a new store. Its records are those that fill
// puts, if any, which are sealed and in any order, and its sequence is the one given.
func (s *sealer) build(sequence uint64, fill func(put func(key []byte, c boxes) error) error) func(*os.File) error {
	return func(f *os.File) (err error) {
		db, err := bolt.Open(f.Name(), 0o600, &bolt.Options{NoStatistics: true, NoSync: true, NoGrowSync: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		b := builder{sealer: s, db: db, totals: totals{sequence: sequence}}
		if err := b.begin(); err != nil {
			return err
		}
		defer func() { _ = b.tx.Rollback() }() // nothing after a commit
		for _, name := range [][]byte{bucketStore, bucketInfo, bucketValues} {
			if _, err := b.tx.CreateBucket(name); err != nil {
				return err
			}
		}
		if fill != nil {
			if err := fill(b.put); err != nil {
				return err
			}
		}
		if err := b.tx.Bucket(bucketStore).Put(keyCheck, s.checkRecord()); err != nil {
			return err
		}
		if err := s.writeTotals(b.tx, b.totals); err != nil {
			return err
		}
		return b.tx.Commit()
	}
}

type builder struct {
	*sealer
	db *bolt.DB
	tx *bolt.Tx
	totals
	size int // of what the transaction has
}

func (b *builder) begin() (err error) {
	b.tx, err = b.db.Begin(true)
	b.size = 0
	return err
}

func (b *builder) put(key []byte, c boxes) error {
	b.records++
	b.toggle(&b.sum, kindInfo, key, ends(c.info))
	b.toggle(&b.sum, kindValue, key, ends(c.value))
	if b.size += len(c.info) + len(c.value); b.size > maxBatch {
		if err := b.tx.Commit(); err != nil {
			return err
		}
		if err := b.begin(); err != nil {
			return err
		}
	}
	return put(key, c, b.tx.Bucket(bucketInfo), b.tx.Bucket(bucketValues))
}

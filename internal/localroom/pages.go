package localroom

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// The page format of bbolt: internal/common of go.etcd.io/bbolt. Numbers are
// in the byte order of the machine.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader    = 16 // id 8, flags 2, count 2, overflow 4
	elementHeader = 16 // leaf: flags 4, position 4, key 4, value 4; branch: position 4, key 4, page 8
	bucketHeader  = 16 // root page 8, sequence 8
	metaSize      = 64 // magic, version, page size, flags: 4 each; root 8, sequence 8, free list 8, pages 8, transaction 8, checksum 8

	branchFlag = 0x01
	leafFlag   = 0x02
	freeFlag   = 0x10

	minPageSize = 1 << 10
	maxPageSize = 1 << 24
)

var order = binary.NativeEndian

// checkPages is the integrity check of a file that bbolt is about to map: every page
// that it leads to has to exist, to be of the right kind and to be used once, and all
// that a page lists has to be inside it. It reports whether a meta page is damaged,
// in which case bbolt uses the previous commit.
//
// bbolt trusts its file. A changed byte can make it loop, overflow its stack or
// overwrite a page that is in use. Its Tx.Check has the same faults, in a goroutine of
// its own where a fault ends the process. Missing and changed records are found by
// [Store.verify] and by decryption.
func checkPages(file []byte) (torn bool, err error) {
	m, intact, err := newestMeta(file)
	if err != nil {
		return false, err
	}
	p := pages{file: file, size: int(m.pageSize), used: make([]bool, m.pages)}
	p.used[0], p.used[1] = true, true
	if err := p.tree(m.root, true); err != nil {
		return false, err
	}
	return intact < 2, p.freeList(m.freeList)
}

type meta struct {
	pageSize                           uint32
	root, freeList, pages, transaction uint64
}

// newestMeta returns the newest intact meta page, and how many of the two are intact.
// The second one is at the size of a page, which is a power of two.
func newestMeta(file []byte) (newest meta, intact int, err error) {
	for at := 0; at <= maxPageSize && at+pageHeader+metaSize <= len(file); at = max(2*at, minPageSize) {
		b := file[at+pageHeader:][:metaSize]
		sum := fnv.New64a()
		sum.Write(b[:metaSize-8])
		m := meta{order.Uint32(b[8:]), order.Uint64(b[16:]), order.Uint64(b[32:]), order.Uint64(b[40:]), order.Uint64(b[48:])}
		if order.Uint32(b) != boltMagic || order.Uint32(b[4:]) != boltVersion || order.Uint64(b[56:]) != sum.Sum64() || at != 0 && at != int(m.pageSize) {
			continue
		}
		if intact++; intact == 1 || m.transaction > newest.transaction {
			newest = m
		}
	}
	switch size := newest.pageSize; {
	case size < minPageSize || size > maxPageSize || newest.pages < 4:
		return meta{}, 0, errors.New("both meta pages are damaged")
	case newest.pages > uint64(len(file))/uint64(size):
		return meta{}, 0, fmt.Errorf("found %d of %d pages", len(file)/int(size), newest.pages)
	}
	return newest, intact, nil
}

// pages records which pages of a file are in use.
type pages struct {
	file []byte
	size int
	used []bool
}

// use marks a page, with its overflow pages, and returns their bytes.
func (p *pages) use(id uint64) ([]byte, error) {
	if id >= uint64(len(p.used)) {
		return nil, fmt.Errorf("page %d does not exist", id)
	}
	page := p.file[int(id)*p.size:]
	run := uint64(order.Uint32(page[12:])) + 1
	if order.Uint64(page) != id || run > uint64(len(p.used))-id {
		return nil, fmt.Errorf("page %d has an invalid header", id)
	}
	for i := id; i < id+run; i++ {
		if p.used[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		p.used[i] = true
	}
	return page[:int(run)*p.size], nil
}

// tree marks the pages of the tree under id. The elements of the leaves are buckets in
// the root, and records in a bucket.
func (p *pages) tree(id uint64, root bool) error {
	page, err := p.use(id)
	if err != nil {
		return err
	}
	return p.elements(page, root)
}

// elements checks the elements of a page, and marks the pages that they lead to.
func (p *pages) elements(page []byte, root bool) error {
	if len(page) < pageHeader {
		return errors.New("page is too short")
	}
	kind, count, body := order.Uint16(page[8:]), int(order.Uint16(page[10:])), page[pageHeader:]
	if kind != leafFlag && (kind != branchFlag || count == 0) || count*elementHeader > len(body) {
		return errors.New("page is not a branch or a leaf")
	}
	for i := range count {
		element := body[i*elementHeader:]
		var err error
		if kind == branchFlag {
			if uint64(order.Uint32(element))+uint64(order.Uint32(element[4:])) > uint64(len(element)) {
				return errors.New("key is outside its page")
			}
			err = p.tree(order.Uint64(element[8:]), root)
		} else {
			err = p.leaf(element, root)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pages) leaf(element []byte, root bool) error {
	from := uint64(order.Uint32(element[4:])) + uint64(order.Uint32(element[8:]))
	to := from + uint64(order.Uint32(element[12:]))
	switch {
	case to > uint64(len(element)):
		return errors.New("record is outside its page")
	case !root:
		return nil
	case order.Uint32(element) != 1 || to-from < bucketHeader:
		return errors.New("root has an element that is not a bucket")
	}
	bucket := element[from:to]
	if id := order.Uint64(bucket); id != 0 {
		return p.tree(id, false)
	}
	return p.elements(bucket[bucketHeader:], false) // a small bucket has its page inside
}

// freeList fails if a page is both free and in use.
func (p *pages) freeList(id uint64) error {
	page, err := p.use(id)
	if err != nil {
		return err
	}
	count, list := uint64(order.Uint16(page[10:])), page[pageHeader:]
	if count == 0xFFFF {
		count, list = order.Uint64(list), list[8:]
	}
	if order.Uint16(page[8:]) != freeFlag || count > uint64(len(list))/8 {
		return fmt.Errorf("page %d is not a free list", id)
	}
	for i := range int(count) {
		free := order.Uint64(list[i*8:])
		if free >= uint64(len(p.used)) || p.used[free] {
			return fmt.Errorf("page %d is both free and in use", free)
		}
		p.used[free] = true
	}
	return nil
}

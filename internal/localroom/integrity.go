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

// checkPages reports whether bbolt can walk a file: every page that it leads to
// exists, is of the kind that it has to be, and is used once.
//
// bbolt trusts what it maps. A changed byte can send it around in a circle,
// overflow its stack, or have it write over a page that is in use. Its own
// Tx.Check does the same, in a goroutine where a fault ends the process. What
// this check leaves to find is inside pages: [Store.verify] and the seals find it.
//
// It reports whether one of the meta pages is damaged, for which bbolt goes back to
// the commit before.
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

// newestMeta returns the newest of the two meta pages and how many of them are
// intact. The second one is where the size of a page says, which is a power of two.
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
		return meta{}, 0, errors.New("no meta page is intact")
	case newest.pages > uint64(len(file))/uint64(size):
		return meta{}, 0, fmt.Errorf("the file is truncated: %d of %d pages are left", len(file)/int(size), newest.pages)
	}
	return newest, intact, nil
}

// pages marks the pages of a file that are in use.
type pages struct {
	file []byte
	size int
	used []bool
}

// use marks a page with those that it runs over, and returns their bytes.
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

// tree marks the pages under id. The leaves of the root hold buckets, those of a
// bucket hold records.
func (p *pages) tree(id uint64, root bool) error {
	page, err := p.use(id)
	if err != nil {
		return err
	}
	return p.elements(page, root)
}

// elements checks that the elements of a page are inside it, and marks the pages
// that they lead to.
func (p *pages) elements(page []byte, root bool) error {
	if len(page) < pageHeader {
		return errors.New("a page is too short")
	}
	kind, count, body := order.Uint16(page[8:]), int(order.Uint16(page[10:])), page[pageHeader:]
	if kind != leafFlag && (kind != branchFlag || count == 0) || count*elementHeader > len(body) {
		return errors.New("a page does not hold records")
	}
	for i := range count {
		element := body[i*elementHeader:]
		var err error
		if kind == branchFlag {
			if uint64(order.Uint32(element))+uint64(order.Uint32(element[4:])) > uint64(len(element)) {
				return errors.New("a key is outside its page")
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
		return errors.New("a record is outside its page")
	case !root:
		return nil
	case order.Uint32(element) != 1 || to-from < bucketHeader:
		return errors.New("the root page does not hold buckets")
	}
	bucket := element[from:to]
	if id := order.Uint64(bucket); id != 0 {
		return p.tree(id, false)
	}
	return p.elements(bucket[bucketHeader:], false) // the page of a small bucket is in here
}

// freeList fails if a page that is in use is free too.
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
		return fmt.Errorf("page %d does not list free pages", id)
	}
	for i := range int(count) {
		free := order.Uint64(list[i*8:])
		if free >= uint64(len(p.used)) || p.used[free] {
			return fmt.Errorf("page %d is free and in use", free)
		}
		p.used[free] = true
	}
	return nil
}

package localroom

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
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

// checkPages reports what is wrong with the structure of a bbolt file: every
// page has to be used exactly once or be free, every element has to lie where
// bbolt puts it, every key in its order, and buckets only in the root.
//
// bbolt believes what it maps: a changed byte makes it panic, fault, recurse
// without end, or miss records without a word. With this done before it opens
// the file, what is left to find are changes inside keys and values, which
// the seals tell.
func checkPages(file []byte) error {
	m, err := newestMeta(file)
	if err != nil {
		return err
	}
	p := pages{file: file, size: int(m.pageSize), seen: make([]bool, m.pages)}
	p.seen[0], p.seen[1] = true, true
	if err := p.tree(m.root, nil, nil, p.root); err != nil {
		return err
	}
	if err := p.freeList(m.freeList); err != nil {
		return err
	}
	if i := slices.Index(p.seen, false); i >= 0 {
		return fmt.Errorf("page %d is neither used nor free", i)
	}
	return nil
}

type meta struct {
	pageSize                           uint32
	root, freeList, pages, transaction uint64
}

// newestMeta takes both meta pages to be sound: one that is not would make
// bbolt go back to the transaction before without a word. A crash leaves none
// behind, because a meta page is written as one sector.
func newestMeta(file []byte) (meta, error) {
	if len(file) < pageHeader+metaSize {
		return meta{}, fmt.Errorf("%d bytes are too few", len(file))
	}
	pageSize := order.Uint32(file[pageHeader+8:])
	if pageSize < minPageSize || pageSize > maxPageSize || pageSize&(pageSize-1) != 0 || len(file) < 2*int(pageSize) {
		return meta{}, fmt.Errorf("no meta page")
	}
	var newest meta
	for i := range 2 {
		b := file[i*int(pageSize)+pageHeader:][:metaSize]
		sum := fnv.New64a()
		sum.Write(b[:metaSize-8])
		if order.Uint32(b) != boltMagic || order.Uint32(b[4:]) != boltVersion || order.Uint64(b[56:]) != sum.Sum64() {
			return meta{}, fmt.Errorf("meta page %d is not sound", i)
		}
		m := meta{order.Uint32(b[8:]), order.Uint64(b[16:]), order.Uint64(b[32:]), order.Uint64(b[40:]), order.Uint64(b[48:])}
		if m.pageSize != pageSize || m.pages < 4 {
			return meta{}, fmt.Errorf("meta page %d is not sound", i)
		}
		if i == 0 || m.transaction > newest.transaction {
			newest = m
		}
	}
	if newest.pages > uint64(len(file))/uint64(pageSize) {
		return meta{}, fmt.Errorf("it was cut: %d pages of %d are there", len(file)/int(pageSize), newest.pages)
	}
	return newest, nil
}

// pages marks the pages of a file that are in use.
type pages struct {
	file []byte
	size int
	seen []bool
}

// use marks a page with the pages it runs over and returns their bytes.
func (p *pages) use(id uint64) ([]byte, error) {
	if id >= uint64(len(p.seen)) {
		return nil, fmt.Errorf("page %d does not exist", id)
	}
	head := p.file[int(id)*p.size:]
	run := uint64(order.Uint32(head[12:])) + 1
	if order.Uint64(head) != id || run > uint64(len(p.seen))-id {
		return nil, fmt.Errorf("page %d has a wrong header", id)
	}
	for i := id; i < id+run; i++ {
		if p.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		p.seen[i] = true
	}
	return head[:int(run)*p.size], nil
}

// tree walks the pages under id, the keys of which are at least low and below
// high (nil: no bound), and calls leaf for the elements.
func (p *pages) tree(id uint64, low, high []byte, leaf func(element) error) error {
	page, err := p.use(id)
	if err != nil {
		return err
	}
	elements, _, err := parsePage(page)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, e := range elements {
		if low != nil && bytes.Compare(e.key, low) < 0 || high != nil && bytes.Compare(e.key, high) >= 0 {
			return fmt.Errorf("page %d: a key is out of order", id)
		}
		if !e.branch {
			if err := leaf(e); err != nil {
				return fmt.Errorf("page %d: %w", id, err)
			}
			continue
		}
		next := high
		if i+1 < len(elements) {
			next = elements[i+1].key
		}
		if err := p.tree(e.page, e.key, next, leaf); err != nil {
			return err
		}
	}
	return nil
}

// root takes the elements of the root, which are buckets.
func (p *pages) root(e element) error {
	if !e.bucket || len(e.value) < bucketHeader {
		return fmt.Errorf("the root holds something else than buckets")
	}
	if id := order.Uint64(e.value); id != 0 {
		return p.tree(id, nil, nil, plain)
	}
	inline := e.value[bucketHeader:]
	elements, used, err := parsePage(inline)
	if err != nil || used != len(inline) {
		return fmt.Errorf("a bucket is not sound")
	}
	for _, e := range elements {
		if e.branch || e.bucket {
			return fmt.Errorf("a bucket is not sound")
		}
	}
	return nil
}

func plain(e element) error {
	if e.bucket {
		return fmt.Errorf("a bucket is inside a bucket")
	}
	return nil
}

// An element is what a page lists.
type element struct {
	branch, bucket bool
	page           uint64
	key, value     []byte
}

// parsePage returns the elements of a branch or leaf page and how many bytes
// of it they take. bbolt puts the bytes of the elements one after the other
// behind their headers, so nothing in a header is free to be something else.
func parsePage(page []byte) (elements []element, used int, err error) {
	if len(page) < pageHeader {
		return nil, 0, fmt.Errorf("it is too short")
	}
	flags, count := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if flags != branchFlag && flags != leafFlag || flags == branchFlag && count == 0 {
		return nil, 0, fmt.Errorf("it is of no known kind")
	}
	used = pageHeader + count*elementHeader
	if used > len(page) {
		return nil, 0, fmt.Errorf("it is too short")
	}
	elements = make([]element, count)
	for i := range elements {
		head := page[pageHeader+i*elementHeader:]
		e := element{branch: flags == branchFlag}
		var position, keySize, valueSize uint32
		if e.branch {
			position, keySize, e.page = order.Uint32(head), order.Uint32(head[4:]), order.Uint64(head[8:])
		} else {
			position, keySize, valueSize = order.Uint32(head[4:]), order.Uint32(head[8:]), order.Uint32(head[12:])
			kind := order.Uint32(head)
			if kind > 1 {
				return nil, 0, fmt.Errorf("an element is of no known kind")
			}
			e.bucket = kind == 1
		}
		if pageHeader+i*elementHeader+int(position) != used || int(keySize)+int(valueSize) > len(page)-used {
			return nil, 0, fmt.Errorf("an element is not where it should be")
		}
		e.key = page[used:][:keySize]
		used += int(keySize)
		e.value = page[used:][:valueSize]
		used += int(valueSize)
		if i > 0 && bytes.Compare(elements[i-1].key, e.key) >= 0 {
			return nil, 0, fmt.Errorf("a key is out of order")
		}
		elements[i] = e
	}
	return elements, used, nil
}

// freeList marks the free pages.
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
		return fmt.Errorf("the list of free pages is not sound")
	}
	for i := range int(count) {
		free := order.Uint64(list[i*8:])
		if free >= uint64(len(p.seen)) || p.seen[free] {
			return fmt.Errorf("page %d is free and in use", free)
		}
		p.seen[free] = true
	}
	return nil
}

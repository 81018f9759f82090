package mask

import (
	"maps"
	"slices"
	"sort"
)

// An automaton finds all needles in one pass (Aho and Corasick, "Efficient
// string matching", 1975). Libraries for it want the whole text at once; here
// the state outlives a chunk, and its depth is how much of the text has to
// be held back.
//
// Nodes are numbered by breadth, so that the children of n are those from
// n.first to the first of the node after it, and a node takes 17 bytes.
type automaton struct {
	nodes  []node // one more than there are, to end the children of the last
	labels []byte // of the edge that leads to a node

	// dense has all steps from the root and from the nodes below it, which is
	// where ordinary text stays.
	dense [][256]uint32

	needles []needle
}

type node struct {
	first uint32
	fail  uint32 // the longest proper suffix of this node that is a node
	depth uint32
	found uint32 // 1 + the index of the longest needle that ends here, or 0
}

type needle struct {
	length      int
	replacement string
}

// build takes a map from what to find to its name. A form is not empty.
func build(names map[string]string) *automaton {
	sorted := slices.Sorted(maps.Keys(names))
	a := &automaton{needles: make([]needle, len(sorted))}
	for i, form := range sorted {
		a.needles[i] = needle{len(form), "[" + names[form] + "]"}
	}

	// The needles from low to high begin with what leads to the node.
	type span struct{ low, high uint32 }
	spans := []span{{0, uint32(len(sorted))}}
	a.nodes, a.labels = []node{{}}, []byte{0}
	for n := uint32(0); int(n) < len(a.nodes); n++ {
		low, high := spans[n].low, spans[n].high
		here := &a.nodes[n]
		here.first = uint32(len(a.nodes))
		here.found = a.nodes[here.fail].found
		depth := here.depth
		if low < high && len(sorted[low]) == int(depth) {
			here.found = low + 1
			low++
		}
		for low < high {
			label := sorted[low][depth]
			size := sort.Search(int(high-low), func(i int) bool { return sorted[low+uint32(i)][depth] > label })
			child := node{depth: depth + 1}
			if n > 0 {
				child.fail = a.search(a.nodes[n].fail, label)
			}
			a.nodes = append(a.nodes, child)
			a.labels = append(a.labels, label)
			spans = append(spans, span{low, low + uint32(size)})
			low += uint32(size)
		}
	}
	a.nodes = slices.Clip(append(a.nodes, node{first: uint32(len(a.nodes))}))
	a.labels = slices.Clip(a.labels)
	for s := range a.nodes[1].first {
		row := new([256]uint32)
		for c := range row {
			row[c] = a.search(s, byte(c))
		}
		a.dense = append(a.dense, *row)
	}
	return a
}

// step is the state after one more byte.
func (a *automaton) step(s uint32, c byte) uint32 {
	for int(s) >= len(a.dense) {
		if child := a.child(s, c); child != 0 {
			return child
		}
		s = a.nodes[s].fail
	}
	return a.dense[s][c]
}

// search is step without dense.
func (a *automaton) search(s uint32, c byte) uint32 {
	for {
		if child := a.child(s, c); child != 0 || s == 0 {
			return child
		}
		s = a.nodes[s].fail
	}
}

// child is the node that c leads to, or 0.
func (a *automaton) child(s uint32, c byte) uint32 {
	for n := a.nodes[s].first; n < a.nodes[s+1].first; n++ {
		if a.labels[n] == c {
			return n
		}
	}
	return 0
}

// rest is the state with the same future as s and less to hold back: a complete needle
// that does not begin a longer one can only overlap the next.
func (a *automaton) rest(s uint32) uint32 {
	for s != 0 && a.nodes[s].first == a.nodes[s+1].first {
		s = a.nodes[s].fail
	}
	return s
}

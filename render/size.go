package render

import (
	"errors"
	"fmt"
	"math/bits"
)

// CheckSize returns an error if execve(2) would refuse argv with the environment
// of g for its size (E2BIG), and says what is to blame: every argument and
// variable that is too long in itself, else the largest one. argv[0] is the file
// to run. A path that is found for it, and the interpreter of a script, count too
// and are unknown: within their few bytes of the limit execve still fails.
func CheckSize(argv []string, g *Result) error {
	limit := execLimits()
	total := 0
	var largest piece
	var errs []error
	add := func(p piece) {
		total += p.size + pointer
		if p.size > largest.size {
			largest = p
		}
		if p.size > limit.piece {
			errs = append(errs, fmt.Errorf("start command: %s is %d bytes, and the limit of the system is %d%s",
				p.name, p.size, limit.piece, p.remedy()))
		}
	}
	if len(argv) > 0 {
		total += len(argv[0]) + 1
	}
	for i, a := range argv {
		add(piece{fmt.Sprintf("argument %d", i), len(a) + 1, false})
	}
	for _, v := range g.Env {
		add(piece{"the variable " + v.Name, len(v.Name) + 1 + v.Value.Len() + 1, true})
	}
	if errs == nil && total > limit.total {
		errs = append(errs, fmt.Errorf("start command: arguments and environment are %d bytes, and the limit of the system is %d; %s is the largest with %d%s",
			total, limit.total, largest.name, largest.size, largest.remedy()))
	}
	return errors.Join(errs...)
}

const pointer = bits.UintSize / 8 // bytes of one entry of argv or environ

// limits are what execve accepts: one argument or variable and all of them with
// their pointers, in bytes with the NUL that ends each.
type limits struct{ piece, total int }

// A piece is one string that execve copies.
type piece struct {
	name     string
	size     int
	variable bool
}

func (p piece) remedy() string {
	if !p.variable {
		return ""
	}
	return "; pass the value in a file: add file=PATH to the reference"
}

package secret_test

import (
	"testing"

	"github.com/roomenv/roomenv/secret"
)

func TestHasher(t *testing.T) {
	h := secret.NewHasher()
	a, b := secret.New([]byte("a")), secret.New([]byte("b"))
	switch {
	case h.Sum(a) != h.Sum(secret.New([]byte("a"))):
		t.Error("equal values have different sums")
	case h.Sum(a) == h.Sum(b), h.Sum(a) == h.Sum(secret.Value{}):
		t.Error("different values have one sum")
	case h.Sum(a) == secret.NewHasher().Sum(a):
		t.Error("the sum does not depend on the key")
	}
}

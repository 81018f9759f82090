package inject

import (
	"time"

	"github.com/roomenv/roomenv/internal/mask"
)

// SetMasker has m mask what c prints, as a [Consumer] does.
func SetMasker(c *Command, m *mask.Masker) { c.masker = m }

// Hurried is s with a shorter time for a hook, and until a child is stable.
func (s Supervisor) Hurried() Supervisor {
	s.hookTimeout, s.stableAfter = 100*time.Millisecond, time.Second
	return s
}

package inject

import "time"

// Hurried is s with a shorter time for a hook, and until a child is stable.
func (s Supervisor) Hurried() Supervisor {
	s.hookTimeout, s.stableAfter = 100*time.Millisecond, time.Second
	return s
}

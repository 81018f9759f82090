package fetch

import "time"

func init() { absence = 100 * time.Millisecond }

// SetNow puts now in place of the wall clock.
func (f *Follower) SetNow(now func() time.Time) { f.now = now }

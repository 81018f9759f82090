package fetch

import "time"

func init() { reconnectGrace = 100 * time.Millisecond }

// SetNow puts now in place of the wall clock.
func (f *Refresher) SetNow(now func() time.Time) { f.now = now }

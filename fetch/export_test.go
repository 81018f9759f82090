package fetch

import "time"

func init() { absence = 100 * time.Millisecond }

// Expiry is expiry.
var Expiry = expiry

// SetNow puts now in place of the wall clock.
func (f *Follower) SetNow(now func() time.Time) { f.now = now }

package fetch

import "time"

// SetNow replaces the wall clock.
func (r *Refresher) SetNow(now func() time.Time) { r.now = now }

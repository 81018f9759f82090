package watch

import "time"

// Poll sets how often f looks by itself.
func (f *Files) Poll(d time.Duration) { f.poll = d }

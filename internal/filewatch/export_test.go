package filewatch

import "time"

// Poll sets how often f looks by itself, and has it watch from the beginning.
func (f *Files) Poll(d time.Duration) { f.poll, f.lull = d, 0 }

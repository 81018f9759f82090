package filewatch

import "time"

// Watched are the directories that are watched, for the goroutine of Watch.
func (f *Files) Watched() []string { return f.watcher.WatchList() }

// Poll sets how often f looks by itself, and has it watch from the beginning.
func (f *Files) Poll(d time.Duration) { f.poll, f.lull = d, 0 }

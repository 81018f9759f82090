// Package notify wakes a goroutine that looks for work by itself.
package notify

// Slot returns a channel that holds one notification.
func Slot() chan struct{} { return make(chan struct{}, 1) }

// Send fills a channel of [Slot], unless it is full: the receiver looks once for all
// that has happened until then. It does not wait.
func Send(slot chan<- struct{}) {
	select {
	case slot <- struct{}{}:
	default:
	}
}

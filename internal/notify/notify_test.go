package notify_test

import (
	"testing"

	"github.com/roomenv/roomenv/internal/notify"
)

func TestSend(t *testing.T) {
	slot := notify.Slot()
	for range 2 {
		notify.Send(slot)
		notify.Send(slot) // does not wait
		<-slot
		select {
		case <-slot:
			t.Fatal("two notifications were held")
		default:
		}
	}
}

package inject

import (
	"slices"
	"time"
)

// A clock has alarms ring in the goroutine that calls it, one after the other.
type clock []*alarm

type alarm struct {
	at   time.Time
	ring func()
}

func (c *clock) after(d time.Duration, ring func()) *alarm {
	a := &alarm{time.Now().Add(d), ring}
	*c = append(*c, a)
	return a
}

// cancel has a not ring. a may be nil, or have rung.
func (c *clock) cancel(a *alarm) {
	*c = slices.DeleteFunc(*c, func(b *alarm) bool { return a == b })
}

// next receives when the first alarm is due. It is nil without alarms.
func (c clock) next() <-chan time.Time {
	if len(c) == 0 {
		return nil
	}
	return time.After(time.Until(c.first().at))
}

// ring rings the first alarm.
func (c *clock) ring() {
	first := c.first()
	c.cancel(first)
	first.ring()
}

func (c clock) first() *alarm {
	return slices.MinFunc(c, func(a, b *alarm) int { return a.at.Compare(b.at) })
}

package inject

import (
	"slices"
	"time"
)

// A clock has alarms ring in the goroutine that asks it, one after the other.
type clock struct {
	alarms []*alarm
	timer  *time.Timer
}

type alarm struct {
	at   time.Time
	ring func()
}

func (c *clock) after(d time.Duration, ring func()) *alarm {
	a := &alarm{time.Now().Add(d), ring}
	c.alarms = append(c.alarms, a)
	return a
}

// cancel has a not ring any more. a may be nil, or have rung.
func (c *clock) cancel(a *alarm) {
	c.alarms = slices.DeleteFunc(c.alarms, func(b *alarm) bool { return a == b })
}

// next is where the time of the first alarm comes from, nil if there is none.
func (c *clock) next() <-chan time.Time {
	if len(c.alarms) == 0 {
		return nil
	}
	wait := time.Until(c.first().at)
	if c.timer == nil {
		c.timer = time.NewTimer(wait)
	} else {
		c.timer.Reset(wait)
	}
	return c.timer.C
}

// ring rings the first alarm.
func (c *clock) ring() {
	first := c.first()
	c.cancel(first)
	first.ring()
}

func (c *clock) first() *alarm {
	return slices.MinFunc(c.alarms, func(a, b *alarm) int { return a.at.Compare(b.at) })
}

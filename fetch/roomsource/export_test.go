package roomsource

import "time"

func init() { reconnectGrace = 100 * time.Millisecond }

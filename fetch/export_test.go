package fetch

import "time"

func init() { absence = 100 * time.Millisecond }

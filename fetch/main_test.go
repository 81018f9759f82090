package fetch_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble is synctest.Test for a while: a loop that spins stops the clock of its bubble,
// and so the test would last for ever.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	watchdog := time.AfterFunc(20*time.Second, func() { panic(t.Name() + ": nothing in the bubble waits, for 20 s") })
	defer watchdog.Stop()
	synctest.Test(t, f)
}

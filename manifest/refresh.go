package manifest

import "time"

// A Refresh is how values are kept current. What it leaves out is zero.
type Refresh struct {
	// Interval is how often a room is asked that does not tell of changes.
	Interval time.Duration
	// Debounce is how long it has to be quiet after a change until the next ones
	// are applied, which is after MaxWait at the latest.
	Debounce, MaxWait time.Duration
	// StalePolicy is that of entries and files that have none of their own; what
	// they have includes it.
	StalePolicy
	// Pos is where the value of each key is that the manifest has, by the key.
	Pos map[string]Position
}

// UpdatePolicy is what one entry or file says on how it is kept current.
type UpdatePolicy struct {
	OnChange *OnChange // nil: the default for its kind
	StalePolicy
}

// StalePolicy is what becomes of a value that is no longer known to be current.
type StalePolicy struct {
	// MaxStale is how long a value may be used after the room was last known to
	// hold it; 0 is without end. Then is what happens then: [Warn], [Stop] or
	// [Exit], "" being [Warn].
	MaxStale time.Duration
	OnStale  string
	// OnRevoked is what happens when the room says that the value is gone or
	// denied: [Stop], which "" stands for, or [Keep].
	OnRevoked string
}

// What happens to the command when a value cannot be kept current.
const (
	ActionWarn = "warn" // it is told on stderr
	ActionStop = "stop" // it is stopped until the value is there again
	ActionExit = "exit" // it is stopped, and roomenv ends
	ActionKeep = "keep" // the last good value stays
)

// An OnChange is what the command is told when a value is another one: one of
// the kinds, with the signal or the arguments that go with it.
type OnChange struct {
	Kind    string   // [Restart], [Signal], [Command] or [None]
	Signal  string   // as it is written
	Command []string // what to run
}

// Kinds of [OnChange].
const (
	ChangeRestart = "restart"
	ChangeSignal  = "signal"
	ChangeCommand = "command"
	ChangeNone    = "none"
)

// A Readiness is how to tell that a command serves: Command exits with 0, or TCP, an
// address, takes connections. It has Timeout to do so; 0 is the default.
type Readiness struct {
	Command []string
	TCP     string
	Timeout time.Duration
}

// Package render turns a snapshot of values into an environment and files. It does not
// use the network.
package render

import "github.com/roomenv/roomenv/secret"

// A Result is everything that a command gets from one snapshot. It is not modified.
type Result struct {
	// Env is the complete environment, each name once: inherited variables in
	// their order, then what the manifest adds, in its order.
	Env []Variable
	// Files are in the order of the manifest.
	Files []File

	// Secrets are what came from rooms and is in Env or Files, alone or as a part
	// of a value. The name is that of the variable or the path of the file that is
	// nothing else, or else the ID of the reference and its field, as in
	// "db-config#password". What was encoded is there in both forms.
	Secrets []Variable
}

// A Variable is one variable of an environment.
type Variable struct {
	Name  string
	Value secret.Value
}

// Environ returns Env as NAME=VALUE for execve(2). The strings hold the values
// in the clear: call it when the command starts and not before.
func (g *Result) Environ() []string {
	environ := make([]string, len(g.Env))
	for i, v := range g.Env {
		environ[i] = v.Name + "=" + string(v.Value.Reveal())
	}
	return environ
}

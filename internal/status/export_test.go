package status

// Path is where the socket is.
func (p Process) Path() string { return p.path }

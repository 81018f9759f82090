//go:build !linux

package status

import (
	"errors"
	"net"
)

func listenAbstract() (*net.UnixListener, error) { return nil, errors.ErrUnsupported }

func abstractSockets() []string { return nil }

//go:build !linux

package sidecar

import (
	"errors"
	"syscall"
)

func (Selector) find(*int) map[int]int { return nil }

func (Selector) send(syscall.Signal, *int) error { return errors.ErrUnsupported }

//go:build !linux

package sidecar

import (
	"errors"
	"syscall"
)

func (Selector) find() map[int]int { return nil }

func (Selector) send(syscall.Signal) error { return errors.ErrUnsupported }

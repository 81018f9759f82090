//go:build !linux

package main

import (
	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/inject"
)

// joinService does nothing: other service managers take no reports.
func (e *execution) joinService() (leave func(), err error) { return func() {}, nil }

func (*app) reporter() func(report string) { return nil }

func newOwnPID(*inject.Signals) *cobra.Command { return &cobra.Command{Hidden: true} }

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/filewatch"
	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/runner"
)

// An upkeep is a runner with the sources of the environment, whatever uses its values.
type upkeep struct {
	*app
	config  runner.Config
	listen  string // address of metrics and health; "" serves neither
	command string // its name for the status

	runner   *runner.Runner
	rooms    atomic.Pointer[roomSource] // nil: not open
	progress *progress
	servers  []interface{ Close() error }
	notify   func(report string) // to the service manager; nil without one
}

// configure completes what flags have set.
func (u *upkeep) configure() {
	c := &u.config
	if len(c.Files) == 0 {
		c.Files = findManifest()
	}
	c.Sources = runner.Sources{manifest.SchemeRoom: u.openRooms}
	c.Log = u.log
	c.OnError = func(err error) { u.printError(os.Stderr, err) }
}

// A roomSource is where values of rooms come from.
type roomSource struct {
	*roomsource.Source
	rooms *roomDialer
}

func (s *roomSource) Close() error { return errors.Join(s.Source.Close(), s.rooms.close()) }

func (u *upkeep) openRooms() (fetch.Source, error) {
	rooms, err := u.dialer()
	if err != nil {
		return nil, err
	}
	s := &roomSource{roomsource.New(rooms.dial), rooms}
	s.OnRequest = func(p roomsource.RequestStatus) {
		u.progress.observe(p)
		if u.notify != nil && p.Stage != roomsource.Done {
			u.notify(fmt.Sprintf("STATUS=Waiting for %s\nEXTEND_TIMEOUT_USEC=%d", text.Printable(p.From, 0), time.Until(p.Deadline).Microseconds()))
		}
		if p.Err != nil {
			u.log.Info("request failed", "reference", p.Target, "error", p.Err)
		}
	}
	u.rooms.Store(s)
	return s, nil
}

// tokenFile watches the file with the token, if there is one.
func (u *upkeep) tokenFile() *filewatch.Files {
	if u.env.TokenFile != "" {
		return filewatch.New(u.env.TokenFile)
	}
	return filewatch.New()
}

// watch has the runner refresh after SIGHUP, and reconnect with a new token, until stop
// is called.
func (u *upkeep) watch(ctx context.Context, tokenFile *filewatch.Files, signals *inject.Signals) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { tokenFile.Watch(ctx, u.runner.Reconnect) })
	watching.Go(func() {
		for {
			select {
			case <-signals.Hangup:
				u.runner.Refresh()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// serveStatus answers requests for the status until closeServers is called.
func (u *upkeep) serveStatus() error {
	if s, err := status.Serve(u.status, u.runner.Refresh, u.log); err != nil {
		u.log.Warn("status socket unavailable", "error", err)
	} else {
		u.servers = append(u.servers, s)
	}
	if u.listen == "" {
		return nil
	}
	s, err := status.Listen(u.listen, u.status, u.log)
	if err == nil {
		u.servers = append(u.servers, s)
	}
	return err
}

func (u *upkeep) closeServers() {
	for _, s := range u.servers {
		if err := s.Close(); err != nil {
			u.log.Warn("closing server failed", "error", err)
		}
	}
}

// status is that of the runner, with what it does not know of rooms.
func (u *upkeep) status() runner.Status {
	s := u.runner.Status()
	s.Command = u.command // also before it is started
	var names []string
	for _, room := range s.Rooms {
		if name := cmp.Or(room, u.roomName()); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	s.Rooms = names
	for i := range s.Disconnected {
		o := &s.Disconnected[i]
		o.Room = cmp.Or(o.Room, u.roomName())
	}
	if rooms := u.rooms.Load(); rooms != nil {
		s.RoomRequests = int(rooms.Requests())
	}
	return s
}

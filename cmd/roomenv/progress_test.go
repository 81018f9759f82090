package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/manifest"
)

func news(from string, stage roomsource.Stage) roomsource.RequestStatus {
	return roomsource.RequestStatus{
		Target:   manifest.Target{Scheme: manifest.SchemeRoom, Path: "request/" + from, Params: "url=https%3A%2F%2Fstripe.com"},
		From:     from,
		Stage:    stage,
		Deadline: time.Now().Add(5 * time.Minute),
	}
}

func TestProgressInLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{w: &out, stop: make(chan struct{})}
		p.observe(news("alice", roomsource.WaitingToJoin))
		p.observe(news("alice", roomsource.WaitingForAnswer))
		p.observe(news("alice\x1b[2J", roomsource.WaitingForAnswer))
		p.observe(news("", roomsource.WaitingForRoom))
		p.observe(news("alice", roomsource.Done))
		p.close()
		p.observe(news("bob", roomsource.WaitingToJoin))
		want := "roomenv: waiting for alice to join the room, 5m0s left: room:request/alice?url=https%3A%2F%2Fstripe.com\n" +
			"roomenv: waiting for alice to answer, 5m0s left: room:request/alice?url=https%3A%2F%2Fstripe.com\n" +
			"roomenv: waiting for alice\\x1b[2J to answer, 5m0s left: room:request/alice%1B%5B2J?url=https%3A%2F%2Fstripe.com\n" +
			"roomenv: waiting for the room to answer, 5m0s left: room:request/?url=https%3A%2F%2Fstripe.com\n"
		if out.String() != want {
			t.Errorf("it says\n%s\nwant\n%s", out.String(), want)
		}
	})
}

func TestProgressOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		stop := make(chan struct{})
		p := &progress{w: &out, width: func() int { return 60 }, stop: stop}
		p.wg.Go(func() { p.tick(stop) })
		last := func() string {
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			lines := strings.Split(out.String(), "\r\x1b[K")
			return lines[len(lines)-1]
		}
		p.observe(news("alice", roomsource.WaitingToJoin))
		time.Sleep(3*time.Second + time.Millisecond)
		if got := last(); got != "roomenv: waiting for alice to join the room, 4m57s left: r…" {
			t.Errorf("it says %q", got)
		}
		p.observe(news("bob", roomsource.WaitingForAnswer))
		if got := last(); !strings.HasSuffix(got, "…, and 1 more") || len([]rune(got)) != 59 {
			t.Errorf("it says %q", got)
		}
		p.observe(news("alice", roomsource.Done))
		if got := last(); !strings.HasPrefix(got, "roomenv: waiting for bob to answer, 5m0s left") {
			t.Errorf("it says %q", got)
		}
		p.close()
		if got := last(); got != "" || strings.Contains(out.String(), "\n") {
			t.Errorf("at last it says %q", got)
		}
	})
}

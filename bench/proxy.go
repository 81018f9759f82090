package main

import (
	"net"
	"sync"
	"time"
)

// A slowLink forwards TCP connections and delays what passes by half a round
// trip in each direction, and the connection itself by a whole one. It adds
// latency only: it does not slow down what comes in between.
type slowLink struct {
	listener net.Listener
	target   string
	half     time.Duration
	wg       sync.WaitGroup
}

func newSlowLink(target string, roundTrip time.Duration) (*slowLink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &slowLink{listener: l, target: target, half: roundTrip / 2}
	s.wg.Go(s.accept)
	return s, nil
}

func (s *slowLink) Addr() string { return s.listener.Addr().String() }

func (s *slowLink) Close() error {
	err := s.listener.Close()
	s.wg.Wait()
	return err
}

func (s *slowLink) accept() {
	for {
		near, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			defer near.Close()
			// The kernel accepted at once; a real peer would have answered
			// after a round trip.
			time.Sleep(2 * s.half)
			far, err := net.Dial("tcp", s.target)
			if err != nil {
				return
			}
			defer far.Close()
			var both sync.WaitGroup
			both.Go(func() { s.forward(far, near) })
			both.Go(func() { s.forward(near, far) })
			both.Wait()
		})
	}
}

type chunk struct {
	due  time.Time
	data []byte
}

func (s *slowLink) forward(to, from net.Conn) {
	chunks := make(chan chunk, 1<<16)
	var writer sync.WaitGroup
	writer.Go(func() {
		defer to.(*net.TCPConn).CloseWrite()
		for c := range chunks {
			time.Sleep(time.Until(c.due))
			if _, err := to.Write(c.data); err != nil {
				_ = from.Close()
			}
		}
	})
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		if n > 0 {
			chunks <- chunk{time.Now().Add(s.half), buf[:n]}
		}
		if err != nil {
			break
		}
	}
	close(chunks)
	writer.Wait()
}

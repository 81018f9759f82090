package approval

import (
	"cmp"
	"context"
	_ "embed"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// closeGrace is how long the end waits for browsers to get their last page.
const closeGrace = 2 * time.Second

// callbacks listens on loopback where providers send browsers back to. All
// walks to one address share a listener, which is closed after the last.
type callbacks struct {
	mu      sync.Mutex
	servers map[string]*callbackServer // by address
	life    context.Context
	end     context.CancelFunc
	wg      sync.WaitGroup
}

type callbackServer struct {
	http     http.Server
	listener net.Listener
	waiting  map[string]*waiter // by state
}

type waiter struct {
	path string
	take func(context.Context, url.Values) error
}

// await calls take for the redirect with state, once, unless stop was called
// before.
func (c *callbacks) await(redirect *url.URL, state string, take func(context.Context, url.Values) error) (stop func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := address(redirect)
	s := c.servers[at]
	if s == nil {
		if s, err = c.listen(at); err != nil {
			return nil, err
		}
	}
	s.waiting[state] = &waiter{cmp.Or(redirect.EscapedPath(), "/"), take}
	return func() { c.stop(at, state) }, nil
}

// listen is called with mu held.
func (c *callbacks) listen(at string) (*callbackServer, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, err
	}
	if c.servers == nil {
		c.servers = make(map[string]*callbackServer)
		c.life, c.end = context.WithCancel(context.Background())
	}
	s := &callbackServer{listener: l, waiting: make(map[string]*waiter)}
	s.http = http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.mu.Lock()
			waiter := s.waiting[r.URL.Query().Get("state")]
			c.mu.Unlock()
			if waiter == nil || r.Method != http.MethodGet || r.URL.EscapedPath() != waiter.path {
				caught(w, http.StatusNotFound, "Nobody waits for this", "This sign-in was not begun here, or has ended.")
				return
			}
			// Not with the context of r: who closes the tab has consented still.
			switch err := waiter.take(c.life, r.URL.Query()); {
			case err != nil:
				caught(w, http.StatusBadGateway, "That did not work", err.Error())
			case r.URL.Query().Get("code") == "":
				caught(w, http.StatusOK, "Declined", "The one who asked is told that the authorization was not given.")
			default:
				caught(w, http.StatusOK, "Authorized", "The room has the authorization.")
			}
		}),
	}
	c.servers[at] = s
	c.wg.Go(func() { _ = s.http.Serve(l) })
	return s, nil
}

// stop closes the listener after the last walk, and lets answers that are
// under way end.
func (c *callbacks) stop(at, state string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.servers[at]
	if s == nil || s.waiting[state] == nil {
		return
	}
	delete(s.waiting, state)
	if len(s.waiting) > 0 {
		return
	}
	delete(c.servers, at)
	// At once, since the port may be wanted again.
	_ = s.listener.Close()
	c.wg.Go(func() {
		grace, cancel := context.WithCancel(context.Background())
		defer cancel()
		defer context.AfterFunc(c.life, func() {
			select {
			case <-time.After(closeGrace):
				cancel()
			case <-grace.Done():
			}
		})()
		_ = s.http.Shutdown(grace)
		_ = s.http.Close()
	})
}

// close ends what is under way, and waits for it.
func (c *callbacks) close() {
	c.mu.Lock()
	if c.end != nil {
		c.end()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

//go:embed caught.html
var caughtHTML string

var caughtPage = template.Must(template.New("caught").Parse(caughtHTML))

func caught(w http.ResponseWriter, status int, title, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_ = caughtPage.Execute(w, struct{ Title, Text string }{title, text})
}

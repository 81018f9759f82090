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

	"github.com/roomenv/roomenv/internal/httpserver"
)

// callbacks listens on loopback for redirects of providers. All flows with one address
// share a listener, which is closed after the last.
type callbacks struct {
	mu        sync.Mutex
	listeners map[string]net.Listener // by address
	waiting   map[string]waiter       // by state
	ctx       context.Context         // ends with the inbox
	cancel    context.CancelFunc
	running   sync.WaitGroup
}

type waiter struct {
	address, path string
	take          func(context.Context, url.Values) error
}

// await calls take for the redirect with state, unless stop was called before.
func (c *callbacks) await(redirect *url.URL, state string, take func(context.Context, url.Values) error) (stop func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := address(redirect)
	if c.listeners[at] == nil {
		if err := c.listen(at); err != nil {
			return nil, err
		}
	}
	c.waiting[state] = waiter{at, cmp.Or(redirect.EscapedPath(), "/"), take}
	return func() { c.stop(state) }, nil
}

// listen is called with mu held.
func (c *callbacks) listen(at string) error {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	if c.listeners == nil {
		c.listeners, c.waiting = make(map[string]net.Listener), make(map[string]waiter)
		c.ctx, c.cancel = context.WithCancel(context.Background())
	}
	c.listeners[at] = l
	c.running.Go(func() { _ = httpserver.Run(c.ctx, l, httpserver.Config{Handler: c}) })
	return nil
}

// ServeHTTP takes the redirect of a browser.
func (c *callbacks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	c.mu.Lock()
	waiter, ok := c.waiting[q.Get("state")]
	c.mu.Unlock()
	if !ok || r.Method != http.MethodGet || r.URL.EscapedPath() != waiter.path {
		writeCallbackPage(w, http.StatusNotFound, "Unknown sign-in", "This sign-in did not start here, or is closed.")
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // an exchange of the code may take longer
	// Not the context of r: the consent stays valid if the tab is closed.
	switch err := waiter.take(c.ctx, q); {
	case err != nil:
		writeCallbackPage(w, http.StatusBadGateway, "Sign-in failed", err.Error())
	case q.Get("code") == "":
		writeCallbackPage(w, http.StatusOK, "Declined", "The requester is notified that you declined.")
	default:
		writeCallbackPage(w, http.StatusOK, "Authorized", "The room stores the authorization.")
	}
}

// stop closes the listener after the last flow, since the port may be needed again.
// Responses in progress finish.
func (c *callbacks) stop(state string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.waiting[state].address
	delete(c.waiting, state)
	for _, other := range c.waiting {
		if other.address == at {
			return
		}
	}
	if l := c.listeners[at]; l != nil {
		_ = l.Close()
		delete(c.listeners, at)
	}
}

// close ends all flows, and waits for responses in progress.
func (c *callbacks) close() {
	c.mu.Lock()
	if c.cancel != nil {
		c.cancel()
	}
	c.mu.Unlock()
	c.running.Wait()
}

//go:embed callback.html
var callbackHTML string

var callbackPage = template.Must(template.New("callback").Parse(callbackHTML))

func writeCallbackPage(w http.ResponseWriter, status int, title, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_ = callbackPage.Execute(w, struct{ Title, Text string }{title, text})
}

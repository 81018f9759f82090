// Package approvalweb shows an inbox (package approval) as a page, to one person on one
// machine.
//
// The page is rendered here and works without scripts; a small script keeps it
// current. Nothing comes from another origin, and the content security policy
// allows none. The link works once and sets a cookie; without it the server shows
// nothing. Browsers send cookies to every port of a host, so the page and its cookie are
// at a random path. It rejects requests for other hosts (DNS rebinding) and from other
// sites (CSRF).
package approvalweb

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/roomenv/roomenv/internal/approval"
	"github.com/roomenv/roomenv/internal/httpserver"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// maxBody is the largest secret, and other fields.
const maxBody = wire.DefaultMaxMessage + 64<<10

// Config is what a [Server] shows.
type Config struct {
	Inbox    *approval.Inbox
	Identity string // whose inbox it is
	Room     string
	Logger   *slog.Logger // nil discards
}

// A Server is the page.
type Server struct {
	config  Config
	handler http.Handler
	session string // the value of the cookie
	base    string // path of the page and its cookie, with a slash at both ends

	mu   sync.Mutex
	link string // "" when it was used
}

// New returns a page whose link is not used.
func New(config Config) *Server {
	s := &Server{config: config, link: rand.Text(), session: rand.Text(), base: "/" + rand.Text() + "/"}
	private := http.NewServeMux()
	private.HandleFunc("GET "+s.base+"{$}", func(w http.ResponseWriter, _ *http.Request) { s.show(w, http.StatusOK, "", "") })
	private.HandleFunc("GET "+s.base+"events", s.events)
	private.Handle("GET "+s.base+"requests/{id}/consent", onlyGet(s.consent))
	private.Handle("POST "+s.base+"requests/{id}/provide", s.answer(s.provide))
	private.Handle("POST "+s.base+"requests/{id}/reject", s.answer(s.reject))
	private.Handle("POST "+s.base+"requests/{id}/mute", s.answer(s.mute))
	private.Handle("POST "+s.base+"requests/{id}/redirected", s.answer(s.redirected))

	public := http.NewServeMux()
	public.Handle("GET "+s.base+"enter/{link}", onlyGet(s.enter))
	public.Handle("GET /assets/", http.FileServerFS(assets))
	public.Handle("/", s.members(private))
	s.handler = guard(http.NewCrossOriginProtection().Handler(public))
	return s
}

// Path returns the path of the link.
func (s *Server) Path() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.base + "enter/" + s.link
}

// Serve serves the page until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	err := httpserver.Run(ctx, l, httpserver.Config{Handler: s.handler, Logger: s.config.Logger, MaxBody: maxBody})
	if err != nil {
		return fmt.Errorf("serve page: %w", err)
	}
	return nil
}

// guard rejects requests for names, which their owners can point at this machine, unlike
// addresses and localhost.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		host := (&url.URL{Host: r.Host}).Hostname()
		if host != "localhost" && net.ParseIP(host) == nil {
			notice(w, http.StatusMisdirectedRequest, "Wrong address", "Use the address that roomenv printed.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// onlyGet rejects HEAD, which a pattern with GET matches too, so that a program that
// looks at a link does not use it.
func onlyGet(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		next(w, r)
	})
}

// enter takes the link and sets the cookie. The page refreshes itself instead of a
// redirect, after which browsers do not send a strict cookie if the link was on a
// different site.
func (s *Server) enter(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	good := s.link != "" && equal(r.PathValue("link"), s.link)
	if good {
		s.link = ""
	}
	s.mu.Unlock()
	switch {
	case good:
		http.SetCookie(w, &http.Cookie{ //nolint:gosec // not Secure: the page is served without TLS
			Name: cookieName(r), Value: s.session, Path: s.base, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
		render(w, http.StatusOK, "enter", s.base)
	case s.isMember(r):
		render(w, http.StatusOK, "enter", s.base)
	default:
		notice(w, http.StatusForbidden, "This link was already used", "It works once. Continue in the browser that used it, or start roomenv requests --web again for a new link.")
	}
}

func (s *Server) members(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.isMember(r) {
			notice(w, http.StatusForbidden, "No access", "Open the link that roomenv printed. It works once; start roomenv requests --web again for a new link.")
			return
		}
		// A member may take any time: for an upload, events, or a response of the room.
		c := http.NewResponseController(w)
		_ = errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{}))
		next.ServeHTTP(w, r)
	})
}

func (s *Server) isMember(r *http.Request) bool {
	cookie, err := r.Cookie(cookieName(r))
	return err == nil && equal(cookie.Value, s.session)
}

// cookieName has the port in it, for a browser that has the pages of several rooms.
func cookieName(r *http.Request) string {
	return "roomenv-" + (&url.URL{Host: r.Host}).Port()
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// events notifies the script when to look again.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	alive := time.NewTicker(20 * time.Second)
	defer alive.Stop()
	const look = "data: look\n\n"
	changed := s.config.Inbox.Changed()
	for text := look; ; {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
			changed, text = s.config.Inbox.Changed(), look
		case <-alive.C:
			text = ": alive\n\n"
		}
	}
}

// consent redirects the browser to the provider. The page has a link instead of a form,
// since a policy for forms applies to their redirects too.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	provider, err := s.config.Inbox.Consent(id)
	if err != nil {
		s.show(w, status(err), id, err.Error())
		return
	}
	http.Redirect(w, r, provider, http.StatusFound)
}

// answer runs do with the form, and shows the page again.
func (s *Server) answer(do func(r *http.Request, id string) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// In memory only: secrets must not reach temporary files.
		if err := r.ParseMultipartForm(maxBody); err != nil && !errors.Is(err, http.ErrNotMultipart) {
			s.show(w, http.StatusBadRequest, r.PathValue("id"), fmt.Sprintf("invalid form, or larger than %d MiB", wire.DefaultMaxMessage>>20))
			return
		}
		id := r.PathValue("id")
		if err := do(r, id); err != nil {
			s.show(w, status(err), id, err.Error())
			return
		}
		http.Redirect(w, r, s.base, http.StatusSeeOther)
	})
}

func (s *Server) provide(r *http.Request, id string) error {
	value, err := formValue(r)
	if err != nil {
		return err
	}
	return s.config.Inbox.Provide(r.Context(), id, value)
}

// formValue returns the two fields of Git, the file, or the typed value.
func formValue(r *http.Request) (secret.Value, error) {
	if _, git := r.PostForm["username"]; git {
		return approval.GitValue(r.PostForm.Get("username"), r.PostForm.Get("password"))
	}
	typed := r.PostForm.Get("value")
	file, header, err := r.FormFile("file")
	if err != nil || header.Filename == "" {
		return secret.New([]byte(typed)), nil
	}
	defer file.Close()
	if typed != "" {
		return secret.Value{}, errors.New("enter a value or choose a file, not both")
	}
	b, err := io.ReadAll(file)
	return secret.New(b), err
}

func (s *Server) reject(r *http.Request, id string) error {
	return s.config.Inbox.Reject(r.Context(), id, r.PostForm.Get("reason"))
}

func (s *Server) mute(r *http.Request, id string) error {
	return s.config.Inbox.Mute(r.Context(), id)
}

func (s *Server) redirected(r *http.Request, id string) error {
	return s.config.Inbox.CompleteRedirect(r.Context(), id, strings.TrimSpace(r.PostForm.Get("address")))
}

func status(err error) int {
	if errors.Is(err, approval.ErrClosed) {
		return http.StatusConflict
	}
	return http.StatusUnprocessableEntity
}

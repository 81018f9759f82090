package approvalweb

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/roomenv/roomenv/internal/approval"
)

//go:embed assets
var assets embed.FS

//go:embed page.html
var pageHTML string

// pages is parsed on first use, since only one command needs it.
var pages = sync.OnceValue(func() *template.Template {
	left := func(d time.Duration) string {
		if d < time.Minute {
			return fmt.Sprintf("%d s left", d/time.Second)
		}
		return fmt.Sprintf("%d min left", d/time.Minute)
	}
	return template.Must(template.New("page").Funcs(template.FuncMap{"left": left}).Parse(pageHTML))
})

// A page is the data of page.html.
type page struct {
	Config
	Base    string // path of the page
	Pending []card
	Ended   []card
}

type card struct {
	approval.Request
	Base    string
	Left    time.Duration
	Problem string // error of the last answer
}

// Version changes when the card has to be drawn again.
func (c card) Version() string { return string(c.State) + " " + c.Problem }

// show renders the inbox, with a problem at the request with the id.
func (s *Server) show(w http.ResponseWriter, status int, id, problem string) {
	p := page{Config: s.config, Base: s.base}
	for _, r := range s.config.Inbox.Requests() {
		c := card{Request: r, Base: s.base, Left: time.Until(r.Expires).Truncate(time.Second)}
		if r.State != approval.Pending {
			p.Ended = append(p.Ended, c)
			continue
		}
		c.Problem = r.Reason
		if r.ID == id {
			c.Problem = problem
		}
		p.Pending = append(p.Pending, c)
	}
	slices.Reverse(p.Ended)
	render(w, status, "page", p)
}

// notice renders a page with one message.
func notice(w http.ResponseWriter, status int, title, text string) {
	render(w, status, "notice", struct{ Title, Text string }{title, text})
}

func render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := pages().ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "rendering the page failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

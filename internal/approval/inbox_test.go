package approval_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/approval"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRoom notes what it is answered, and fails with err.
type fakeRoom struct {
	mu      sync.Mutex
	answers []string
	err     error
	entered chan struct{} // if not nil: an answer has begun
	leave   chan struct{} // and may end
}

func (r *fakeRoom) took(ctx context.Context, words ...string) error {
	if r.entered != nil {
		r.entered <- struct{}{}
		select {
		case <-r.leave:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.answers = append(r.answers, strings.Join(words, " "))
	}
	return r.err
}

func (r *fakeRoom) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.answers, "\n")
}

func (r *fakeRoom) Provide(ctx context.Context, id string, v secret.Value) error {
	return r.took(ctx, "provide", id, string(v.Reveal()))
}

func (r *fakeRoom) Reject(ctx context.Context, id, reason string) error {
	return r.took(ctx, "reject", id, reason)
}

func (r *fakeRoom) ProvideAuthorization(ctx context.Context, id string, code secret.Value) error {
	return r.took(ctx, "authorize", id, string(code.Reveal()))
}

func (r *fakeRoom) RejectAuthorization(ctx context.Context, id, reason string) error {
	return r.took(ctx, "decline", id, reason)
}

func add(t *testing.T, i *approval.Inbox, r approval.Request, room approval.Room) {
	t.Helper()
	if err := i.Add(r, time.Minute, room); err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, i *approval.Inbox, id string) approval.State {
	t.Helper()
	r, ok := i.Request(id)
	if !ok {
		t.Fatalf("there is no request %q", id)
	}
	return r.State
}

func stripe(id string) approval.Request {
	return approval.Request{ID: id, Kind: approval.Secret, URL: "https://stripe.com", Type: "text/plain"}
}

func TestAnswers(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	room := new(fakeRoom)
	add(t, &inbox, stripe("a"), room)
	add(t, &inbox, stripe("b"), room)
	add(t, &inbox, github(t, "c"), room)
	if err := inbox.Provide(t.Context(), "a", secret.Value{}); !errors.Is(err, approval.ErrEmpty) {
		t.Errorf("an empty value: %v", err)
	}
	if err := errors.Join(
		inbox.Provide(t.Context(), "a", secret.New([]byte("sk"))),
		inbox.Reject(t.Context(), "b", "not mine"),
		inbox.Reject(t.Context(), "c", ""),
	); err != nil {
		t.Fatal(err)
	}
	if got, want := room.said(), "provide a sk\nreject b not mine\ndecline c rejected"; got != want {
		t.Errorf("the room was told\n%s\nwant\n%s", got, want)
	}
	if state(t, &inbox, "a") != approval.Provided || state(t, &inbox, "b") != approval.Rejected || state(t, &inbox, "c") != approval.Rejected {
		t.Errorf("states are %v", inbox.Requests())
	}
	if err := inbox.Provide(t.Context(), "a", secret.New([]byte("again"))); !errors.Is(err, approval.ErrClosed) {
		t.Errorf("a second answer: %v", err)
	}
}

func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inbox approval.Inbox
		defer inbox.Close()
		add(t, &inbox, stripe("a"), new(fakeRoom))
		changed := inbox.Changed()
		time.Sleep(59 * time.Second)
		if state(t, &inbox, "a") != approval.Pending {
			t.Error("it expired too early")
		}
		<-changed
		if state(t, &inbox, "a") != approval.Expired {
			t.Error("it did not expire")
		}
	})
}

// An answer that is under way when the time is over decides.
func TestAnswerAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inbox approval.Inbox
		defer inbox.Close()
		room := &fakeRoom{entered: make(chan struct{}), leave: make(chan struct{})}
		add(t, &inbox, stripe("a"), room)
		answered := make(chan error)
		go func() { answered <- inbox.Provide(t.Context(), "a", secret.New([]byte("sk"))) }()
		<-room.entered
		if err := inbox.Reject(t.Context(), "a", "no"); !errors.Is(err, approval.ErrClosed) {
			t.Errorf("two answers at once: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if state(t, &inbox, "a") != approval.Pending {
			t.Errorf("before the answer it is %s", state(t, &inbox, "a"))
		}
		close(room.leave)
		if err := <-answered; err != nil || state(t, &inbox, "a") != approval.Provided {
			t.Errorf("%v, %s", err, state(t, &inbox, "a"))
		}
	})
}

func TestFailedAnswers(t *testing.T) {
	for _, test := range []struct {
		name, kind string
		err        error
		want       approval.State
	}{
		{"answered elsewhere", approval.Secret, room.ErrNotFound, approval.Closed},
		{"connection lost", approval.Secret, room.ErrDisconnected, approval.Pending},
		{"code refused by the provider", approval.OAuth, &room.Error{Code: room.ErrOperationFailed.Code, Text: "invalid_grant"}, approval.Failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			var inbox approval.Inbox
			defer inbox.Close()
			r := github(t, "a")
			r.Kind = test.kind
			add(t, &inbox, r, &fakeRoom{err: test.err})
			if err := inbox.Reject(t.Context(), "a", "no"); err == nil {
				t.Error("the answer did not fail")
			}
			r, _ = inbox.Request("a")
			if r.State != test.want || (r.Reason == "") != (test.want == approval.Closed) {
				t.Errorf("it is %s, %q", r.State, r.Reason)
			}
		})
	}
}

// An answer that fails when the time is over does not leave the request pending.
func TestAnswerTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inbox approval.Inbox
		defer inbox.Close()
		room := &fakeRoom{entered: make(chan struct{}), leave: make(chan struct{}), err: errors.New("connection lost")}
		add(t, &inbox, stripe("a"), room)
		answered := make(chan error)
		go func() { answered <- inbox.Provide(t.Context(), "a", secret.New([]byte("sk"))) }()
		<-room.entered
		time.Sleep(2 * time.Minute)
		close(room.leave)
		if err := <-answered; err == nil || state(t, &inbox, "a") != approval.Expired {
			t.Errorf("%v, %s", err, state(t, &inbox, "a"))
		}
	})
}

// A room may announce a request again, as after a reconnect.
func TestSameRequestTwice(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	room := new(fakeRoom)
	add(t, &inbox, stripe("a"), room)
	if err := inbox.Reject(t.Context(), "a", "no \x1b[2J"); err != nil {
		t.Fatal(err)
	}
	add(t, &inbox, stripe("a"), room)
	all := inbox.Requests()
	if len(all) != 1 || all[0].State != approval.Rejected || all[0].Reason != `no \x1b[2J` {
		t.Errorf("requests are %+v", all)
	}
}

// A view learns of each request when it is new, and when it has ended.
func TestUpdates(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	updates := approval.Updates{Inbox: &inbox}
	room := new(fakeRoom)
	add(t, &inbox, stripe("a"), room)
	add(t, &inbox, stripe("b"), room)
	for _, want := range []string{"a pending b pending", "", "b rejected", ""} {
		var got []string
		for _, r := range updates.Next() {
			got = append(got, r.ID+" "+string(r.State))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("updates are %q, want %q", got, want)
		}
		if want == "" {
			_ = inbox.Reject(t.Context(), "b", "no")
		}
	}
}

// A person who is asked too much mutes who asks, and is left alone by that participant.
func TestMute(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	room := new(fakeRoom)
	from := func(id, name string) approval.Request {
		r := stripe(id)
		r.From = name
		return r
	}
	add(t, &inbox, from("a", "mallory\x1b"), room)
	add(t, &inbox, from("b", "agent"), room)
	oauth := github(t, "c")
	oauth.From = "mallory\x1b"
	add(t, &inbox, oauth, room)
	add(t, &inbox, from("d", ""), room)
	if err := inbox.Mute(t.Context(), "d"); err == nil || room.said() != "" {
		t.Errorf("nobody was muted: %v, the room was told %q", err, room.said())
	}
	if err := inbox.Mute(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if got, want := room.said(), "reject a rejected\ndecline c rejected"; got != want {
		t.Errorf("the room was told %q, want %q", got, want)
	}
	if state(t, &inbox, "b") != approval.Pending || state(t, &inbox, "d") != approval.Pending {
		t.Errorf("requests are %v", inbox.Requests())
	}
	// Who is muted gets a plain rejection.
	if err := inbox.Add(from("e", "mallory\x1b"), time.Minute, room); !errors.Is(err, approval.ErrMuted) || err.Error() != "rejected" {
		t.Errorf("a request of who is muted: %v", err)
	}
	add(t, &inbox, from("f", "agent"), room)
	if got := inbox.Muted(); len(got) != 1 || got[0] != `mallory\x1b` {
		t.Errorf("muted are %q", got)
	}
}

// Nothing that others write reaches a terminal or a page as it came.
func TestTextsPrint(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	evil := "a\x1b[2J\u202eb\u009b"
	scopes := []string{evil}
	add(t, &inbox, approval.Request{
		ID: "a", From: evil, StoredFor: evil, URL: evil, Type: evil, AuthorizationEndpoint: evil,
		ClientID: evil, Scopes: scopes, RedirectURI: evil, Challenge: evil,
	}, new(fakeRoom))
	r, _ := inbox.Request("a")
	if got := fmt.Sprintf("%s", r.Scopes) + r.From + r.StoredFor + r.URL + r.Type + r.AuthorizationEndpoint + r.ClientID + r.RedirectURI + r.Challenge; strings.ContainsAny(got, "\x1b\u202e\u009b") {
		t.Errorf("%q", got)
	}
	if scopes[0] != evil {
		t.Error("the caller's scopes were changed")
	}
	if err := inbox.Add(stripe("\x1b[2J"), time.Minute, nil); !errors.Is(err, approval.ErrBadID) {
		t.Errorf("an id that does not print: %v", err)
	}
	if err := inbox.Add(approval.Request{ID: "b", URL: strings.Repeat("x", 5000)}, time.Minute, nil); !errors.Is(err, approval.ErrTooLong) {
		t.Errorf("a long URL: %v", err)
	}
	if err := inbox.Add(approval.Request{ID: "c", Scopes: slices.Repeat([]string{strings.Repeat("x", 500)}, 20)}, time.Minute, nil); !errors.Is(err, approval.ErrTooLong) {
		t.Errorf("long scopes: %v", err)
	}
}

func TestFlood(t *testing.T) {
	var inbox approval.Inbox
	defer inbox.Close()
	room := new(fakeRoom)
	accepted := 0
	for n := range 2000 {
		if err := inbox.Add(stripe(fmt.Sprint(n)), time.Minute, room); err == nil {
			accepted++
		} else if !errors.Is(err, approval.ErrFull) {
			t.Fatal(err)
		}
	}
	if accepted != 1024 || len(inbox.Requests()) != accepted {
		t.Errorf("%d of 2000 requests were accepted", accepted)
	}
	for n := range accepted {
		if err := inbox.Reject(t.Context(), fmt.Sprint(n), "no"); err != nil {
			t.Fatal(err)
		}
	}
	if kept := len(inbox.Requests()); kept != 32 {
		t.Errorf("%d requests that ended are kept", kept)
	}
}

func TestGitValue(t *testing.T) {
	v, err := approval.GitValue("me", `p"w`)
	if err != nil || string(v.Reveal()) != `{"username":"me","password":"p\"w"}` {
		t.Errorf("%s, %v", v.Reveal(), err)
	}
	for _, bad := range [][2]string{{"", "pw"}, {"me", ""}, {"me", "\xff"}} {
		if _, err := approval.GitValue(bad[0], bad[1]); err == nil || strings.Contains(err.Error(), "\xff") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

package runner_test

import (
	"context"
	"errors"
	"testing"

	"github.com/roomenv/roomenv/runner"
)

func TestFunc(t *testing.T) {
	var got []*runner.Revision
	why := errors.New("why")
	f := runner.Func(func(_ context.Context, rev *runner.Revision) error {
		got = append(got, rev)
		return why
	})
	rev := new(runner.Revision)
	if err := f.Apply(t.Context(), rev, runner.Change{}); !errors.Is(err, why) {
		t.Errorf("Apply: %v", err)
	}
	if err := f.Suspend(t.Context(), nil); !errors.Is(err, why) {
		t.Errorf("Suspend: %v", err)
	}
	if len(got) != 2 || got[0] != rev || got[1] != nil {
		t.Errorf("called with %v", got)
	}
	if _, set := got[1].Lookup("A"); set {
		t.Error("no revision has a value")
	}
	if code, err := f.Stop(why); code != 125 || !errors.Is(err, why) || f.Done() != nil {
		t.Errorf("Stop: %d, %v", code, err)
	}
}

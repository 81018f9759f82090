package manifest_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/manifest"
)

// A later file replaces what it has, a list as a whole.
func TestExecLayers(t *testing.T) {
	write(t, map[string]string{
		"base.yaml": "version: 1\nexec:\n  mask: true\n  pristine: true\n  strip: [A, B]\n  allow: [PATH]\n  stop_signal: SIGINT\n",
		"A.env":     "A=1\n",
		"more.yaml": "version: 1\nexec:\n  mask: false\n  strip:\n  - C\n  allow: []\n  stop_timeout: 1m30s\n",
	})
	m, err := manifest.Load([]string{"base.yaml", "A.env", "more.yaml"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.Exec{
		Pristine: true, Strip: []string{"C"}, Allow: []string{}, StopSignal: "SIGINT", StopTimeout: 90 * time.Second,
		Pos: map[string]manifest.Position{
			"mask":         {File: "more.yaml", Line: 3, Column: 9},
			"pristine":     {File: "base.yaml", Line: 4, Column: 13},
			"strip":        {File: "more.yaml", Line: 5, Column: 3},
			"allow":        {File: "more.yaml", Line: 6, Column: 10},
			"stop_signal":  {File: "base.yaml", Line: 7, Column: 16},
			"stop_timeout": {File: "more.yaml", Line: 7, Column: 17},
		},
	}
	if !reflect.DeepEqual(m.Exec, want) {
		t.Errorf("got %+v, want %+v", m.Exec, want)
	}
}

func TestExecErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"maks: true", "m.yaml:3:3: unknown key\n    maks: …\n    ^\n  hint: did you mean \"mask\"?"},
		{"mask: hunter2", "m.yaml:3:9: invalid mask: want true or false\n    mask: …\n          ^"},
		{"strip: hunter2", "m.yaml:3:10: invalid strip: want a list such as [ONE, TWO]\n    strip: …\n           ^"},
		{"allow: [A, hunter-2]", "m.yaml:3:14: invalid allow: want a name of letters, digits and _"},
		{"allow: [[hunter2]]", "m.yaml:3:11: invalid allow: want text"},
		{"stop_signal: 9", "m.yaml:3:16: invalid stop_signal: want text\n    stop_signal: …\n                 ^\n  hint: put quotes around it"},
		{"stop_timeout: hunter2", "m.yaml:3:17: invalid stop_timeout: want a duration such as 10s, 1m30s or 500ms\n    stop_timeout: …\n                  ^"},
		{"stop_timeout: 9999999h", "m.yaml:3:17: invalid stop_timeout"},
	} {
		_, errs := manifest.Parse("m.yaml", "version: 1\nexec:\n  "+test.text)
		if errs == nil || !strings.Contains(errs.Error(), test.want) || strings.Contains(errs.Error(), "hunter") {
			t.Errorf("%s: got %v, want %s", test.text, errs, test.want)
		}
	}
}

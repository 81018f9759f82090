package render_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

func TestChanges(t *testing.T) {
	restart := []manifest.OnChange{{Kind: manifest.ChangeRestart}}
	hup := manifest.OnChange{Kind: manifest.ChangeSignal, Signal: "HUP"}
	usr1 := manifest.OnChange{Kind: manifest.ChangeSignal, Signal: "USR1"}
	reload := manifest.OnChange{Kind: manifest.ChangeCommand, Command: []string{"nginx", "-s", "reload"}}
	before := `env:
  PLAIN: room:secret/plain
  QUIET: {secret: quiet, on_change: none}
  HUP: {secret: hup, on_change: {signal: HUP}}
  AGAIN: {secret: again, on_change: {signal: HUP}}
  HOOK: {secret: hook, on_change: {command: [nginx, -s, reload]}}
  GONE: {secret: gone, optional: true, on_change: {signal: USR1}}
  OWN: {secret: own, file: true}
files:
  key: {secret: key, env: KEY}
  conf: {template: "{{ secret \"conf\" }}", mode: "0440", on_change: {signal: HUP}}
  sealed: {secret: sealed, memfd: true, on_change: {signal: HUP}}
  static: {secret: static, memfd: true, on_change: none}
  maybe: {secret: maybe, optional: true, env: MAYBE}
`
	for name, test := range map[string]struct {
		now     string // of the manifest; "" as before
		values  room
		changes render.Changes
		asks    []manifest.OnChange
	}{
		"nothing":           {},
		"variable":          {values: room{"plain": "2"}, changes: render.Changes{Variables: []string{"PLAIN"}}, asks: restart},
		"none":              {values: room{"quiet": "2"}, changes: render.Changes{Variables: []string{"QUIET"}}},
		"each once":         {values: room{"hook": "2", "again": "2", "hup": "2", "conf": "2"}, changes: render.Changes{Variables: []string{"AGAIN", "HOOK", "HUP"}, Files: []string{"conf"}}, asks: []manifest.OnChange{hup, reload}},
		"restart for all":   {values: room{"hook": "2", "plain": "2", "conf": "2"}, changes: render.Changes{Variables: []string{"HOOK", "PLAIN"}, Files: []string{"conf"}}, asks: restart},
		"comes":             {values: room{"gone": ""}, changes: render.Changes{Variables: []string{"GONE"}}, asks: []manifest.OnChange{usr1}},
		"file":              {values: room{"key": "2", "own": "2"}, changes: render.Changes{Files: []string{"OWN", "key"}}},
		"memfd":             {values: room{"sealed": "2"}, changes: render.Changes{Files: []string{"sealed"}}, asks: restart},
		"memfd, none":       {values: room{"static": "2"}, changes: render.Changes{Files: []string{"static"}}},
		"file with its env": {values: room{"maybe": ""}, changes: render.Changes{Variables: []string{"MAYBE"}, Files: []string{"maybe"}}, asks: restart},
		"mode":              {now: strings.Replace(before, "0440", "0444", 1), changes: render.Changes{Files: []string{"conf"}}, asks: []manifest.OnChange{hup}},
		"descriptors": {
			now:     strings.Replace(strings.Replace(before, "  static: {secret: static, memfd: true, on_change: none}\n", "", 1), "  sealed:", "  static: {secret: static, memfd: true, on_change: none}\n  sealed:", 1),
			changes: render.Changes{Files: []string{"sealed", "static"}}, asks: restart,
		},
		"no longer there": {
			now:     strings.NewReplacer("  PLAIN: room:secret/plain\n", "", `  conf: {template: "{{ secret \"conf\" }}", mode: "0440", on_change: {signal: HUP}}`+"\n", "").Replace(before),
			changes: render.Changes{Variables: []string{"PLAIN"}, Files: []string{"conf"}}, asks: restart,
		},
		"general": {
			now:    before + "exec: {on_change: {signal: USR1}}\n",
			values: room{"plain": "2", "hup": "2", "key": "2"}, changes: render.Changes{Variables: []string{"HUP", "PLAIN"}, Files: []string{"key"}},
			asks: []manifest.OnChange{usr1, hup},
		},
	} {
		t.Run(name, func(t *testing.T) {
			values := room{}
			for _, id := range strings.Fields("plain quiet hup again hook own key conf sealed static") {
				values[id] = "value-" + id
			}
			g, err := values.render(t, load(t, before), "INHERITED=x")
			if err != nil {
				t.Fatal(err)
			}
			hasher := secret.NewHasher()
			digest := g.Digest(hasher)
			if s := fmt.Sprintf("%+v %#v", digest, *digest); strings.Contains(s, "value-") {
				t.Errorf("it holds a value: %s", s)
			}
			for id, value := range test.values {
				values[id] = value
			}
			if test.now == "" {
				test.now = before
			}
			m := load(t, test.now)
			g, err = values.render(t, m, "INHERITED=x")
			if err != nil {
				t.Fatal(err)
			}
			changes := digest.Diff(g.Digest(hasher))
			if !reflect.DeepEqual(changes, test.changes) || changes.Any() != (name != "nothing") {
				t.Errorf("got %+v, want %+v", changes, test.changes)
			}
			if asks := changes.Actions(m); !reflect.DeepEqual(asks, test.asks) {
				t.Errorf("asks for %+v, want %+v", asks, test.asks)
			}
		})
	}
}

package manifest_test

import (
	"strings"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

// TestErrorsHoldNoValue breaks manifests in every place in many ways. No
// error may print a value, wherever the fault is.
func TestErrorsHoldNoValue(t *testing.T) {
	const canary = "hunter2"
	texts := map[string]string{
		"a.env": `# hunter2
PLAIN=hunter2
export DOUBLE="x hunter2 \n ${room:secret/a?default=hunter2#b} ${A:-hunter2} $B" # hunter2
SINGLE='hunter2
hunter2'
BACK=` + "`hunter2 hunter2`" + `
REF=room:secret/a?default=hunter2&type=t
COLON: hunter2
WORD=${A:?hunter2 ${C:-hunter2}}
`,
		"a.yaml": `# hunter2
version: 1
env:
  PLAIN: hunter2
  DOUBLE: "x hunter2 \n ${room:secret/a?default=hunter2#b} ${A:-hunter2}"
  SINGLE: 'hunter2'
  LITERAL: |
    hunter2
    hunter2
  FLOW: {secret: a, default: hunter2, type: t}
  VALUE: {value: "hunter2"}
  REF: room:secret/a?default=hunter2&type=t
`,
		"b.yaml": `version: 1
env:
  ASK: {request: {from: hunter2, url: hunter2, type: hunter2, timeout: 60}, default: hunter2}
oauth:
  client:
    client_id: hunter2
    client_secret: room:secret/a
    authorization_endpoint: https://hunter2
    token_endpoint: https://hunter2
    scopes: [hunter2, "hunter2"]
`,
		"files.yaml": `version: 1
files:
  p/q: "x hunter2 ${room:secret/a?default=hunter2}"
  r: {template: '{{ secret "a" | print "hunter2" 7 }} hunter2', mode: "0400"}
  s:
    template: |
      hunter2 {{ with $x := secret "a?default=hunter2" }}{{ print $x "hunter2" }}{{ end }}
  t: {format: json, entries: {A: "hunter2", B: {value: hunter2}}}
`,
	}
	insertions := []string{"", " ", "\n", "\"", "'", "`", "$", "${", "}", "{", "#", " #", ":", ": ", "=", "?", "&", "%", "\\", "\t", "é", "-", "*", "[", "]", ",", "|", "@", "\x01", "\r"}
	faulty := 0
	for file, text := range texts {
		if _, errs := manifest.Parse(file, text); errs != nil {
			t.Fatalf("%s is at fault: %v", file, errs)
		}
		for i := range text {
			for _, insertion := range insertions {
				for _, from := range []int{i, i + 1} { // insert before, or replace
					broken := text[:i] + insertion + text[from:]
					if strings.Contains(broken, "${"+canary) {
						continue // made it the name of a variable
					}
					_, errs := manifest.Parse(file, broken)
					if errs == nil {
						continue
					}
					faulty++
					if strings.Contains(errs.Error(), canary) {
						t.Errorf("%s with %q at %d (of %q): %v", file, insertion, i, text[max(0, i-20):min(len(text), i+20)], errs)
					}
				}
			}
		}
	}
	t.Logf("%d faulty texts", faulty)
}

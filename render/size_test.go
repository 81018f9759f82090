package render_test

import (
	"strings"
	"testing"

	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

func TestCheckSizeNamesWhoIsToBlame(t *testing.T) {
	const canary = "hunter2-canary"
	big := secret.New([]byte(strings.Repeat(canary, 20<<20/len(canary))))
	small := secret.New([]byte(canary))
	env := func(v ...render.Variable) *render.Result { return &render.Result{Env: v} }
	var many []render.Variable
	for range 1 << 18 {
		many = append(many, render.Variable{Name: "MANY", Value: small})
	}
	many = append(many, render.Variable{Name: "LARGEST", Value: secret.New([]byte(canary + "!"))})

	for name, test := range map[string]struct {
		argv []string
		g    *render.Result
		want []string // in the error; none for no error
	}{
		"nothing":      {nil, env(), nil},
		"small":        {[]string{"true"}, env(render.Variable{Name: "A", Value: small}), nil},
		"two too long": {[]string{"true"}, env(render.Variable{Name: "A", Value: big}, render.Variable{Name: "B", Value: small}, render.Variable{Name: "C", Value: big}), []string{"variable A", "variable C", "file=PATH"}},
		"an argument":  {[]string{"true", string(big.Reveal())}, env(), []string{"argument 1"}},
		"too many":     {[]string{"true"}, env(many...), []string{"variable LARGEST"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := render.CheckSize(test.argv, test.g)
			if (err != nil) != (test.want != nil) {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				return
			}
			for _, w := range test.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in %q", w, err)
				}
			}
			if strings.Contains(err.Error(), canary) {
				t.Error("the error holds a value")
			}
			if strings.Contains(err.Error(), "variable B") {
				t.Error("the error names a variable that is not to blame")
			}
		})
	}
}

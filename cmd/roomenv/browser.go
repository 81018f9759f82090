package main

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"os"
	"os/exec"
	"runtime"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// A browser opens addresses for the person, who also sees them printed. Other users can
// read the arguments of a command, and an address has a secret in it, such as a link that
// works once. So the command gets a file that redirects to the address.
type browser struct{ files []string }

var redirectPage = template.Must(template.New("").Parse(`<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={{.}}">
<title>roomenv</title>
<a href="{{.}}">Continue</a>
`))

func (b *browser) open(address string) {
	if err := b.tryOpen(address); err != nil {
		fmt.Fprintf(os.Stderr, "roomenv: open browser: %v\n", err)
	}
}

func (b *browser) tryOpen(address string) error {
	f, err := os.CreateTemp(cmp.Or(os.Getenv("XDG_RUNTIME_DIR"), os.TempDir()), "roomenv-*.html") // mode 0600
	if err != nil {
		return err
	}
	b.files = append(b.files, f.Name())
	if err := errors.Join(redirectPage.Execute(f, address), f.Close()); err != nil {
		return err
	}
	opener := "xdg-open"
	if runtime.GOOS == "darwin" {
		opener = "open"
	}
	environment, err := render.Policy{}.Render(new(manifest.Manifest), new(fetch.Snapshot), os.Environ(), "")
	if err != nil {
		return err
	}
	cmd := exec.Command(opener, (&url.URL{Scheme: "file", Path: f.Name()}).String())
	cmd.Env = environment.Environ() // without the keys of roomenv
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// close removes the files.
func (b *browser) close() {
	for _, name := range b.files {
		_ = os.Remove(name)
	}
}

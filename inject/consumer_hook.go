package inject

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/roomenv/roomenv/manifest"
)

// hooks returns the hooks that a manifest asks for.
func hooks(actions []manifest.OnChange) (all []Hook) {
	for _, a := range actions {
		switch a.Kind {
		case manifest.ChangeCommand:
			all = append(all, Hook{Args: a.Command})
		case manifest.ChangeHTTP:
			all = append(all, Hook{[]string{"http " + a.HTTP}, func(ctx context.Context) error { return post(ctx, a.HTTP) }})
		case manifest.ChangeTouch:
			all = append(all, Hook{[]string{"touch " + a.Touch}, func(context.Context) error { return touch(a.Touch) }})
		}
	}
	return all
}

// postTimeout is how long an answer may take.
const postTimeout = 10 * time.Second

// post sends a request without a body. An answer that is not 2xx is an error, also one that
// redirects. No proxy is used: the server is one that the manifest names.
func post(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("answer %s", response.Status)
	}
	return nil
}

// touch is that of touch(1).
func touch(path string) error {
	now := time.Now()
	err := os.Chtimes(path, now, now)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644) //nolint:gosec // empty, and for others to see
	if err != nil {
		return err
	}
	return f.Close()
}

package room_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

const apiKey = "ma-AAECAwQFRgeICQoLDA0ODw-ERERESIiQzOERFVVVVVVVQ-s3-cr3t_key"

func TestEnv(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		env        room.Env
		url, token string
	}{
		"token":         {room.Env{Room: "demo", Token: secret.New([]byte("jwt"))}, "https://api.meshagent.com/rooms/demo", "jwt"},
		"room URL":      {room.Env{Room: "demo", Token: secret.New([]byte("jwt")), RoomURL: "ws://r/", APIURL: "http://a"}, "ws://r/rooms/demo", "jwt"},
		"API URL":       {room.Env{Room: "demo", Token: secret.New([]byte("jwt")), APIURL: "http://a/x/"}, "http://a/x/rooms/demo", "jwt"},
		"name of paths": {room.Env{Room: "a/../b?c", Token: secret.New([]byte("jwt"))}, "https://api.meshagent.com/rooms/a%2F..%2Fb%3Fc", "jwt"},
		"token file":    {room.Env{Room: "demo", Token: secret.New([]byte("jwt")), TokenFile: file}, "https://api.meshagent.com/rooms/demo", "file"},
		"not the key":   {room.Env{Room: "demo", Token: secret.New([]byte("jwt")), APIKey: secret.New([]byte("no key"))}, "https://api.meshagent.com/rooms/demo", "jwt"},
	} {
		config, err := tt.env.Config()
		if err != nil || config.URL != tt.url {
			t.Errorf("%s: %q, error %v", name, config.URL, err)
			continue
		}
		if got, err := config.Token(t.Context()); err != nil || string(got.Reveal()) != tt.token {
			t.Errorf("%s: the token is %q, error %v", name, got.Reveal(), err)
		}
	}
}

func TestEnvVariables(t *testing.T) {
	for name, value := range map[string]string{
		"MESHAGENT_ROOM": "demo", "MESHAGENT_TOKEN": "jwt", "ROOMENV_TOKEN_FILE": "file", "MESHAGENT_API_KEY": "key",
		"MESHAGENT_ROOM_URL": "ws://r", "MESHAGENT_API_URL": "http://a", "ROOMENV_IDENTITY": "alice",
	} {
		t.Setenv(name, value)
	}
	e := room.FromEnv()
	if e.Room != "demo" || string(e.Token.Reveal()) != "jwt" || e.TokenFile != "file" || string(e.APIKey.Reveal()) != "key" ||
		e.RoomURL != "ws://r" || e.APIURL != "http://a" || e.Identity != "alice" || e.Name() != "alice" {
		t.Errorf("got %+v", e)
	}
	if e.Identity = ""; e.Name() == "" {
		t.Error("without an identity there is no name")
	}
}

// The token file is read for each attempt to connect.
func TestEnvTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	config, err := room.Env{Room: "demo", TokenFile: file}.Config()
	if err != nil {
		t.Fatal(err)
	}
	write("two")
	if got, err := config.Token(t.Context()); err != nil || string(got.Reveal()) != "two" {
		t.Errorf("the token is %q, error %v", got.Reveal(), err)
	}
}

// Each attempt to connect gets a token of its own, which ends soon.
func TestEnvAPIKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config, err := room.Env{Room: "demo", APIKey: secret.New([]byte(apiKey)), Identity: "alice"}.Config()
		if err != nil {
			t.Fatal(err)
		}
		key, err := token.ParseAPIKey(secret.New([]byte(apiKey)))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			jwt, err := config.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, err := token.Verify(jwt, func(id string) (secret.Value, bool) { return key.Secret, id == key.KeyID }, time.Now())
			if err != nil || got.Name != "alice" || got.Room != "demo" || got.Role != token.Agent || got.ProjectID != key.ProjectID ||
				!got.Expires.Equal(time.Now().Add(time.Hour).Truncate(time.Second)) {
				t.Errorf("got %+v, error %v", got, err)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestEnvFails(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tt := range map[string]struct {
		env  room.Env
		is   error
		text string
	}{
		"nothing":     {room.Env{}, room.ErrMissingRoom, "neither MESHAGENT_ROOM nor MESHAGENT_TOKEN is set"},
		"no room":     {room.Env{Token: secret.New([]byte("canary"))}, room.ErrMissingRoom, "MESHAGENT_ROOM"},
		"no token":    {room.Env{Room: "demo"}, room.ErrMissingToken, "MESHAGENT_TOKEN"},
		"no file":     {room.Env{Room: "demo", TokenFile: filepath.Join(dir, "none")}, fs.ErrNotExist, filepath.Join(dir, "none")},
		"empty file":  {room.Env{Room: "demo", TokenFile: file("empty", " \n")}, nil, "empty"},
		"large file":  {room.Env{Room: "demo", TokenFile: file("large", strings.Repeat("canary", 20_000))}, nil, "64 KiB"},
		"bad API key": {room.Env{Room: "demo", APIKey: secret.New([]byte("canary"))}, token.ErrMalformed, "MESHAGENT_API_KEY"},
	} {
		_, err := tt.env.Config()
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

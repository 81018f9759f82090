package token_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

const apiKey = "ma-...._wAAQACAAAAAAAAA_g-ERERESIiQzOERFVVVVVVVQ-s3-cr3t_key"

func TestAPIKeyVector(t *testing.T) {
	got, err := token.ParseAPIKey(value(apiKey))
	if err != nil {
		t.Fatal(err)
	}
	if got.KeyID != keyID || got.ProjectID != projectID || string(got.Secret.Reveal()) != key {
		t.Errorf("got %+v with secret %q", got, got.Secret.Reveal())
	}
}

func TestParseAPIKeyRefuses(t *testing.T) {
	for _, s := range []string{
		"", "ma-", "mb" + apiKey[2:], "s3-cr3t_key", " " + apiKey,
		"ma-...._wAAQACAAAAAAAAA_g-ERERESIiQzOERFVVVVVVVQ",
		"ma-...._wAAQACAAAAAAAAA_g-ERERESIiQzOERFVVVVVVVQ-",
		"ma-...._wAAQACAAAAAAAAA_-ERERESIiQzOERFVVVVVVVQ-x",        // 15 bytes
		"ma-...._wAAQACAAAAAAAAA_h-ERERESIiQzOERFVVVVVVVQ-x",       // bits beyond the 16th byte
		"ma-...._wAAQACAAAAAAAAA_g==-ERERESIiQzOERFVVVVVVVQ-x",     // padding
		"ma-...._wAAQACAAAAAAAAA_g-ERERESIiQzOERFVVVVVV\nVQ-x",     // a line end
		"ma-fbefbeff.0000.4000.8000.0000000000fe-ERERESIiQzOE-xyz", // a UUID as text
	} {
		if got, err := token.ParseAPIKey(value(s)); !errors.Is(err, token.ErrMalformed) || got.Secret.Len() > 0 {
			t.Errorf("%q: got %+v, %v", s, got, err)
		}
	}
}

func FuzzParseAPIKey(f *testing.F) {
	f.Add([]byte(apiKey))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := token.ParseAPIKey(secret.New(b))
		if err != nil {
			if !errors.Is(err, token.ErrMalformed) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if len(k.KeyID) != 36 || len(k.ProjectID) != 36 || k.Secret.Len() == 0 || !bytes.HasSuffix(b, k.Secret.Reveal()) {
			t.Errorf("%q became %+v, %q", b, k, k.Secret.Reveal())
		}
	})
}

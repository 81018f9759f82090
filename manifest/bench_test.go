package manifest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

// BenchmarkLoad loads a .env-style file of 1,000 references.
func BenchmarkLoad(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "KEY_%d=room:secret/k%d\n", i, i)
	}
	file := filepath.Join(b.TempDir(), ".env")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := manifest.Load([]string{file}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

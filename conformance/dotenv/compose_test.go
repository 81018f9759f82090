package dotenv

import (
	"context"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// TestComposeExample has Compose load the example for it, with its own schema.
func TestComposeExample(t *testing.T) {
	load := func(file types.ConfigFile) error {
		_, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
			WorkingDir:  "../../examples/compose",
			ConfigFiles: []types.ConfigFile{file},
		}, func(o *loader.Options) { o.SetProjectName("example", true) })
		return err
	}
	for _, name := range []string{"compose.yaml", "provider.yaml"} {
		if err := load(types.ConfigFile{Filename: "../../examples/compose/" + name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if load(types.ConfigFile{Filename: "wrong.yaml", Content: []byte("services: {a: {image: i, helthcheck: {}}}")}) == nil {
		t.Error("a wrong key is accepted")
	}
}

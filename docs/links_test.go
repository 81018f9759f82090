package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxBroken is the number of links that lead nowhere. It may only fall.
const maxBroken = 0

var (
	link    = regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	code    = regexp.MustCompile("(?m)^```(?s:.*?)^```$|^    .*$")
	// What a heading's anchor is without; spaces become hyphens.
	punctuation = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestLinks follows the relative links of the Markdown pages, to files and to
// headings.
func TestLinks(t *testing.T) {
	pages := []string{"../conformance/README.md"}
	for _, pattern := range []string{"*.md", "../*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	var broken []string
	for _, page := range pages {
		for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
			target := page
			if match[1] != "" {
				target = filepath.Join(filepath.Dir(page), match[1])
			}
			if _, err := os.Stat(target); err != nil || match[2] != "" && !anchors(read(t, target))[match[2]] {
				broken = append(broken, page+": "+match[0][1:])
			}
		}
	}
	if len(broken) != maxBroken {
		t.Errorf("%d broken links, want %d (maxBroken):\n%s", len(broken), maxBroken, strings.Join(broken, "\n"))
	}
}

// read returns a page without its code blocks.
func read(t *testing.T, page string) string {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return code.ReplaceAllString(string(text), "")
}

// anchors are the names that GitHub gives the headings of a page.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		name := punctuation.ReplaceAllString(strings.ToLower(match[1]), "")
		all[strings.ReplaceAll(name, " ", "-")] = true
	}
	return all
}

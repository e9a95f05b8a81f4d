package main

import (
	"os"
	"regexp"
	"testing"

	"service-manager/units/definition"
)

// The README shows units as they are generated, and definitions that are valid.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	must(t, err)
	shown := regexp.MustCompile("(?s)<!-- generator/testdata/golden/(\\S+)[.]txtar (\\S+) -->\n```ini\n(.*?)```\n").FindAllSubmatch(readme, -1)
	if len(shown) != 1 {
		t.Fatalf("%d units are shown; want 1", len(shown))
	}
	cases := goldens(t)
	for _, m := range shown {
		if g := cases[string(m[1])]; g == nil || string(m[3]) != g.expected[string(m[2])] {
			t.Errorf("the README does not show %s of %s as it is", m[2], m[1])
		}
	}
	documents := regexp.MustCompile(`(?s)(\{\s*"(?:description|image)".*?\})`).FindAllSubmatch(readme, -1)
	if len(documents) != 2 {
		t.Fatalf("%d definitions are shown; want 2", len(documents))
	}
	for _, m := range documents {
		if _, err := definition.Parse("web", "1-62d4023616ab1e7921f74f650aab51e1", m[1]); err != nil {
			t.Errorf("a definition in the README: %v", err)
		}
	}
}

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
	shown := regexp.MustCompile("(?s)<!-- generator/(\\S+) -->\n```ini\n(.*?)```\n").FindAllSubmatch(readme, -1)
	if len(shown) != 2 {
		t.Fatalf("%d units are shown; want 2", len(shown))
	}
	for _, m := range shown {
		want, err := os.ReadFile(string(m[1]))
		must(t, err)
		if string(m[2]) != string(want) {
			t.Errorf("the README does not show %s as it is", m[1])
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

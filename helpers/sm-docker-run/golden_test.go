package main

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"service-manager/helpers/internal/command"
	"service-manager/units/unitfile/unitfiletest"
)

// goldenCommand is a command line of sm-docker-run that the generator has written into a
// unit.
type goldenCommand struct{ file, unit, line string }

func (c goldenCommand) String() string { return c.file + ": " + c.line }

// goldenCommands are those of all golden cases.
func goldenCommands(t *testing.T) (commands []goldenCommand) {
	t.Helper()
	paths, err := filepath.Glob("../../generator/testdata/golden/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden cases: %v", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range archive.Files {
			if !strings.HasPrefix(file.Name, "expected/") {
				continue
			}
			for line := range strings.Lines(string(file.Data)) {
				setting, line, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
				line = strings.TrimPrefix(line, "-")
				program, _, _ := strings.Cut(line, " ")
				if strings.HasPrefix(setting, "Exec") && filepath.Base(program) == "sm-docker-run" {
					commands = append(commands, goldenCommand{path + ": " + file.Name, filepath.Base(file.Name), line})
				}
			}
		}
	}
	return commands
}

// parse reads a command line as its verb does before it does anything. It returns the verb,
// and the image if that takes one.
func (c goldenCommand) parse() (verb, image string, err error) {
	words, err := unitfiletest.Words(c.line, map[byte]string{'n': c.unit, 'H': "host"})
	if err != nil {
		return "", "", err
	}
	if len(words) < 2 {
		return "", "", errors.New("has no verb")
	}
	verb = words[1]
	w := command.World{Args: words[2:], Stdout: io.Discard}
	ofContainer := func(o *options, err error) (string, string, error) {
		if err == nil {
			_, _, err = o.container(func(string) (string, bool) { return "", false })
		}
		return verb, o.image, err
	}
	switch verb {
	case "pull":
		o, err := parsePull(w)
		return verb, o.image, err
	case "once":
		o, err := parseOnce(w)
		return ofContainer(o.options, err)
	case "run":
		return ofContainer(parseOptions(w))
	case "remove":
		_, err := parseRemove(w)
		return verb, "", err
	}
	return verb, "", errors.New("has a verb that this test does not know")
}

// What the generator writes into units is what sm-docker-run takes. A misspelt flag in the
// table of the fields of a definition, or one that takes no value, would show here.
func TestGoldenCommands(t *testing.T) {
	verbs := map[string]int{}
	images := map[string]string{} // by unit
	for _, c := range goldenCommands(t) {
		verb, image, err := c.parse()
		if err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		verbs[verb]++
		if other := images[c.file]; image != "" && other != "" && image != other {
			t.Errorf("%s: takes %q for the image; another command of the unit, %q", c, image, other)
		} else if image != "" {
			images[c.file] = image
		}
		for _, flag := range []string{" --", " --volume"} {
			misspelt := c
			if misspelt.line = strings.Replace(c.line, flag, flag+"x", 1); misspelt == c {
				continue
			}
			if _, _, err := misspelt.parse(); err == nil || !strings.Contains(err.Error(), "is not a flag") {
				t.Errorf("%s: %v; want an error about the flag", misspelt, err)
			}
		}
	}
	for _, verb := range []string{"pull", "once", "run", "remove"} {
		if verbs[verb] == 0 {
			t.Errorf("no golden case has sm-docker-run %s", verb)
		}
	}
}

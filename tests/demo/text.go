package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

var revisionName = regexp.MustCompile(`\b([0-9]+-[0-9a-f]{5})[0-9a-f]{27}\b`)

// short shortens the names of revisions, of which the first digits tell them apart.
func short(text string) string { return revisionName.ReplaceAllString(text, "$1…") }

// table returns a function that takes the named columns out of a table that a
// command printed, with shortened names. The table's first line names its
// columns; what follows its first empty line is left out.
func table(names ...string) func(string) string {
	return func(text string) string { return selectColumns(text, names) }
}

func selectColumns(text string, names []string) string {
	text, _, _ = strings.Cut(strings.TrimRight(text, "\n"), "\n\n")
	lines := strings.Split(text, "\n")
	starts := columns(lines[0])
	cells := make([][]string, len(lines))
	widths := make([]int, len(starts))
	for i, line := range lines {
		runes := []rune(line)
		for c, start := range starts {
			end := len(runes)
			if c+1 < len(starts) {
				end = min(end, starts[c+1])
			}
			cell := ""
			if start < end {
				cell = short(strings.TrimSpace(string(runes[start:end])))
			}
			cells[i] = append(cells[i], cell)
			widths[c] = max(widths[c], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for _, row := range cells {
		line := ""
		for c, cell := range row {
			if !slices.Contains(names, cells[0][c]) {
				continue
			}
			line += cell + strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell)+2)
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return out.String()
}

// columns returns where the words of a table's first line begin. The first
// column begins at 0: a mark may stand before the name.
func columns(heading string) []int {
	var starts []int
	before := ' '
	for i, r := range []rune(heading) {
		if before == ' ' && r != ' ' {
			starts = append(starts, i)
		}
		before = r
	}
	if len(starts) > 0 {
		starts[0] = 0
	}
	return starts
}

// matching returns the lines that begin with one of the words, after blanks.
func matching(text string, words ...string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(trimmed, w) }) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// ends returns the first and the last lines.
func ends(text string, first, last int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > first+last+1 {
		lines = slices.Concat(lines[:first], []string{"…"}, lines[len(lines)-last:])
	}
	return strings.Join(lines, "\n")
}

// wrap breaks text into lines of at most width columns, between words.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// number returns a count with commas: 1,234,567.
func number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// seconds returns a time as people read it.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// oneLine returns an error as one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

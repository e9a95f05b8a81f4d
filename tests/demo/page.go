package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Escape sequences of a terminal.
const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	red   = "\x1b[31m"
	green = "\x1b[32m"
	cyan  = "\x1b[36m"
	reset = "\x1b[0m"
	// eraseLine moves to the start of the line and clears it.
	eraseLine = "\r\x1b[K"
)

// A page is where the demo is printed. Its live line, at the end, is updated in
// place on a terminal, and not printed elsewhere.
type page struct {
	out      io.Writer
	width    int // columns of the terminal, 0 when it is none
	colours  bool
	headings int

	mu    sync.Mutex
	shown bool // a live line is shown
}

func newPage(out io.Writer, getenv func(string) string) *page {
	p := &page{out: out}
	if f, ok := out.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			p.width = max(int(size.Col), 40)
		}
	}
	p.colours = p.width > 0 && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	return p
}

// in returns the text in a colour, "" for none.
func (p *page) in(colour, text string) string {
	if !p.colours || colour == "" || text == "" {
		return text
	}
	return colour + text + reset
}

// print prints whole lines, above a live line.
func (p *page) print(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		io.WriteString(p.out, eraseLine)
		p.shown = false
	}
	fmt.Fprintf(p.out, format+"\n", args...)
}

// heading begins a step.
func (p *page) heading(title string) {
	p.headings++
	p.print("\n%s", p.in(bold, fmt.Sprintf("%d  %s", p.headings, title)))
}

// say prints prose, wrapped.
func (p *page) say(text string) {
	p.print("")
	for _, line := range wrap(text, 74) {
		p.print("   %s", line)
	}
}

// command prints a command that an operator would type, of one line or more.
func (p *page) command(text string) {
	first, rest, more := strings.Cut(text, "\n")
	p.print("\n   %s %s", p.in(green, "$"), p.in(bold, first))
	if more {
		p.output(rest)
	}
}

// output prints what a command said. On a terminal what is wider continues in
// further lines, indented.
func (p *page) output(text string) {
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		if p.width == 0 || utf8.RuneCountInString(line) <= p.width-3 {
			p.print("   %s", line)
			continue
		}
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		for i, part := range wrap(line, p.width-7-len(indent)) {
			if i > 0 {
				part = "    " + part
			}
			p.print("   %s%s", indent, part)
		}
	}
}

// rows prints labels and values in two columns.
func (p *page) rows(rows []row) {
	width := 0
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r.label))
	}
	for _, r := range rows {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(r.label))
		lines := []string{r.value}
		if !r.drawn {
			lines = wrap(r.value, 74-width)
		}
		for i, line := range lines {
			label := p.in(dim, r.label) + pad
			if i > 0 {
				label = strings.Repeat(" ", width)
			}
			p.print("   %s  %s", label, p.in(r.colour, line))
		}
	}
}

// A row is a line of a table.
type row struct {
	label, value string
	colour       string
	drawn        bool // the value is no prose
}

// live shows what is going on, in place of what it showed before.
func (p *page) live(text string) {
	if p.width == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	io.WriteString(p.out, eraseLine+"   "+p.in(cyan, p.cut(text, 4)))
	p.shown = true
}

// endLive replaces the live line by one that stays; by none when text is empty.
func (p *page) endLive(text string) {
	if text != "" {
		p.print("   %s", text)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		io.WriteString(p.out, eraseLine)
		p.shown = false
	}
}

// cut shortens a line to the terminal's width, less the columns used already.
func (p *page) cut(line string, used int) string {
	room := p.width - used
	if p.width == 0 || utf8.RuneCountInString(line) <= room {
		return line
	}
	return string([]rune(line)[:room-1]) + "…"
}

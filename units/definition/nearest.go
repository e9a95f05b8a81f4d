package definition

import (
	"fmt"
	"strings"
)

// unknown reports a field that does not exist, with the one that was probably
// meant. parent is the object that it is in, and prefix what its path begins with.
func (p *parser) unknown(name, parent, prefix string) {
	known := names(parent)
	if parent == "" {
		known = append(known, storeFields...)
	}
	meant := nearest(name, known)
	if meant != "" {
		meant = fmt.Sprintf("; did you mean %q?", meant)
	}
	p.problem(prefix+printable(name), "is not a field of a definition%s", meant)
}

// misspelt names the field that was probably meant to be name.
func misspelt(given []member, name string) string {
	for _, m := range given {
		if m.name != name && nearest(m.name, names("")) == name {
			return fmt.Sprintf("; is %s a misspelling of it?", printable(m.name))
		}
	}
	return ""
}

// nearest returns the known name that another one was probably meant to be, empty
// when it is like none.
func nearest(name string, known []string) string {
	if len(name) > 40 {
		return ""
	}
	plain := func(s string) string { return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s)) }
	best, least := "", 3
	for _, k := range known {
		a, b := plain(name), plain(k)
		d := distance(a, b)
		if d == 2 && len(b) < 7 {
			continue // of so few letters, two are too many
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}

// distance returns how many letters have to be inserted, deleted, changed, or swapped
// with their neighbour, to turn a into b.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, last, row := rows[i%3], rows[(i+1)%3], rows[(i+2)%3]
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}

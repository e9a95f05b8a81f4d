// Package nearest finds what was probably meant by a misspelt name.
package nearest

import "strings"

// To returns the known name that another one was probably meant to be, empty
// when it is like none.
func To(name string, known []string) string {
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

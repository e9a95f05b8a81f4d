// Package scheme is for URLs whose scheme says of which kind they are.
package scheme

import (
	"maps"
	"slices"
	"strings"
)

// List returns how a URL of one of the kinds, which are by scheme, may begin: such as
// "http://, https:// or tcp://".
func List[Kind any](kinds map[string]Kind) string {
	schemes := slices.Sorted(maps.Keys(kinds))
	var b strings.Builder
	for i, scheme := range schemes {
		switch {
		case i == 0:
		case i == len(schemes)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(scheme + "://")
	}
	return b.String()
}

package printable

import "fmt"

// Count returns how many there are of what a noun with a regular plural names, such as
// "1 service" or "2 services".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

package definition

import (
	"fmt"

	"service-manager/units/nearest"
)

// unknown reports a field that does not exist, with the one that was probably
// meant. parent is the object that it is in, and prefix what its path begins with.
func (p *parser) unknown(name, parent, prefix string) {
	known := names(parent)
	if parent == "" {
		known = append(known, storeFields...)
	}
	meant := nearest.To(name, known)
	if meant != "" {
		meant = fmt.Sprintf("; did you mean %q?", meant)
	}
	p.problem(prefix+printable(name), "is not a field of a definition%s", meant)
}

// misspelt names the field that was probably meant to be name.
func misspelt(given []member, name string) string {
	for _, m := range given {
		if m.name != name && nearest.To(m.name, names("")) == name {
			return fmt.Sprintf("; is %s a misspelling of it?", printable(m.name))
		}
	}
	return ""
}

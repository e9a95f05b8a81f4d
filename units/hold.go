package units

import (
	"service-manager/units/definition"
	"service-manager/units/unitfile"
)

// holdUnit returns the unit that keeps clients of a service waiting while one revision
// replaces another. sm-rollout starts it; it ends by itself.
func holdUnit(t *unitfile.Text, helpers string, s Service, d *definition.Definition) []byte {
	limit := d.Rollout.Hold
	// They wait from before the old container loses its connections.
	if replaced := s.Definition(s.Good); replaced != nil {
		limit += endTime(replaced)
	}
	hold := command{helper(helpers, "sm-ipvs"), "hold", "--timeout", duration(limit)}
	for _, address := range d.Addresses() {
		hold = append(hold, unitfile.Literal(address.String()))
	}
	begin(t)
	t.Set("Description", unitfile.SpecifierFree("clients of "+string(d.Service)+" wait for its next container (service manager)"))
	t.Set("SourcePath", sourcePath(d))
	t.Set("StartLimitIntervalSec", "0")

	t.Blank()
	t.Section("Service")
	t.Set("Type", "notify")
	t.Command("ExecStart", hold...)
	return t.Cut()
}

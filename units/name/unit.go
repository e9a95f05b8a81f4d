package name

import "strings"

// The units of a service. Those that act on another unit are instances of static
// templates: what stands behind the prefix is the other unit.
const (
	manager = "manager"
	suffix  = ".service"

	startPrefix  = "sm-start@"
	settlePrefix = "sm-settle@"
	retirePrefix = "sm-retire@"
	outagePrefix = "sm-outage@"
	holdPrefix   = "sm-hold@"
	scalePrefix  = "sm-scale@"
)

// Manager returns the unit of the service as a whole.
func (s Service) Manager() string { return string(s) + "@" + manager + suffix }

// IsManager reports whether a unit is the manager of a service.
func IsManager(unit string) bool { return strings.HasSuffix(unit, "@"+manager+suffix) }

// Outage returns the unit that fails while the service has nothing that serves.
func (s Service) Outage() string { return outagePrefix + string(s) + suffix }

// Hold returns the unit that keeps clients waiting while one container of the service
// replaces another.
func (s Service) Hold() string { return holdPrefix + string(s) + suffix }

// Units returns the pattern of the names of the units of the service: its manager
// and its runners, and whatever else is called like them.
func (s Service) Units() string { return string(s) + "@*" + suffix }

// Unit returns the unit of the runner.
func (r Runner) Unit() string { return string(r.Service) + "@" + r.Mark() + suffix }

// Container returns the name of the runner's container.
func (r Runner) Container() string {
	return string(r.Service) + "." + strings.ReplaceAll(r.Mark(), ":", ".")
}

// ParseUnit returns the runner that a unit is, with or without ".service". The error
// begins with what is wrong, SERVICE or REVISION.
func ParseUnit(unit string) (Runner, error) {
	service, mark, _ := strings.Cut(strings.TrimSuffix(unit, suffix), "@")
	return ParseRunner(service, mark)
}

// Start returns the unit that starts a unit once systemd has learnt of it.
func Start(unit string) string { return startPrefix + unit }

// Settle returns the unit that sees, once the start of a runner is over, that its
// revision was accepted or rejected.
func Settle(runner string) string { return settlePrefix + runner }

// Retire returns the unit that drains and stops a runner as soon as its start is
// over.
func Retire(runner string) string { return retirePrefix + runner }

// Scale returns the unit that brings a service to the number of runners that a revision
// asks for which changes nothing else. Its argument is the first runner of that revision,
// which never exists.
func Scale(runner string) string { return scalePrefix + runner }

// Subject returns the unit that a unit acts on: what Start, Settle, Retire and Scale were
// given, or the unit itself. For the units of an outage and of a hold, it is
// "web.service".
func Subject(unit string) string {
	template, instance, isInstance := strings.Cut(unit, "@")
	if !isInstance || !strings.HasPrefix(template, "sm-") {
		return unit
	}
	// A service may have a name like a helper unit's, from before that was refused.
	if _, err := ParseRunner("x", strings.TrimSuffix(instance, suffix)); err == nil {
		return unit
	}
	return instance
}

package systemd

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// State returns the state of one unit. A unit that does not exist is inactive,
// and its LoadState says "not-found".
func (c *Conn) State(ctx context.Context, unit string) (dbus.UnitStatus, error) {
	units, err := c.ListUnitsByNamesContext(ctx, []string{unit})
	if err != nil {
		return dbus.UnitStatus{}, fmt.Errorf("ask systemd for the state of %s: %w", unit, err)
	}
	if len(units) != 1 {
		return dbus.UnitStatus{}, fmt.Errorf("ask systemd for the state of %s: got %d answers", unit, len(units))
	}
	return units[0], nil
}

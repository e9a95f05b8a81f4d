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

// Stopped reports whether a unit has been stopped on purpose since boot, or is being
// stopped now. A unit that never ran, has failed, or is about to start again has not.
func (c *Conn) Stopped(ctx context.Context, unit string) (bool, error) {
	status, err := c.State(ctx, unit)
	if err != nil {
		return false, err
	}
	switch status.ActiveState {
	case "deactivating":
		return status.JobType == "stop", nil
	case "inactive":
		if status.LoadState != "loaded" || status.JobId != 0 {
			return false, nil
		}
		since, err := c.GetUnitPropertyContext(ctx, unit, "InactiveEnterTimestamp")
		if err != nil {
			return false, fmt.Errorf("ask systemd when %s stopped: %w", unit, err)
		}
		usec, _ := since.Value.Value().(uint64)
		return usec != 0, nil
	}
	return false, nil
}

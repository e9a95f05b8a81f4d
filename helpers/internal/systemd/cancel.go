package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	godbus "github.com/godbus/dbus/v5"
)

// propagatesRestarts is the first version of systemd that restarts, with a unit,
// those that have StopPropagatedFrom= it. Until then it only stopped them with it.
const propagatesRestarts = 253

// CancelRestarts cancels the restarts of a service's runners that systemd has
// queued because their manager is restarted, and that have not begun.
func (c *Conn) CancelRestarts(ctx context.Context, service string) error {
	text, err := c.GetManagerProperty("Version")
	if err != nil {
		return fmt.Errorf("ask systemd for its version: %w", err)
	}
	if version(text) < propagatesRestarts {
		return nil // somebody has asked for these
	}
	runners, err := c.Runners(ctx, service)
	if err != nil {
		return err
	}
	var problems []error
	for _, runner := range runners {
		if runner.JobId != 0 && (runner.JobType == "restart" || runner.JobType == "try-restart") && runner.ActiveState == "active" {
			problems = append(problems, cancelJob(ctx, runner.Name, runner.JobId))
		}
	}
	return errors.Join(problems...)
}

// version returns the number in systemd's property Version: "257.9-1~deb13u1".
func version(text string) int {
	digits := strings.TrimLeft(strings.Trim(text, `"`), "v")
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	n, _ := strconv.Atoi(digits)
	return n
}

// cancelJob cancels a job, which the library cannot.
func cancelJob(ctx context.Context, unit string, id uint32) error {
	conn, err := godbus.Dial("unix:path=/run/systemd/private", godbus.WithContext(ctx))
	if err == nil {
		defer conn.Close()
		err = conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))})
	}
	if err == nil {
		err = conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").
			CallWithContext(ctx, "org.freedesktop.systemd1.Manager.CancelJob", 0, id).Err
	}
	var reply godbus.Error
	if errors.As(err, &reply) && reply.Name == "org.freedesktop.systemd1.NoSuchJob" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cancel the restart of %s: %w", unit, err)
	}
	return nil
}

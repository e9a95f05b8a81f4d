package docker

import (
	"context"
	"errors"
	"testing"
	"time"

	"service-manager/helpers/internal/notify"
)

// Who waited in vain for a daemon that has been stopped on purpose can tell.
func TestRetryOfStopped(t *testing.T) {
	d := dial(t, nil, 10*time.Millisecond)
	d.notify = notify.To(func(string) {})
	err := d.retry(t.Context(), func() error { return ErrStopped }, func() error { return ErrStopped })
	if !errors.Is(err, ErrStopped) {
		t.Errorf("got %v; want an error that is ErrStopped", err)
	}
	err = d.retry(t.Context(), func() error { return context.Canceled }, nil)
	if err == nil || errors.Is(err, ErrStopped) {
		t.Errorf("another failure: got %v; want one that is not ErrStopped", err)
	}
}

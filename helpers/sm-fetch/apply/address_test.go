package apply

import (
	"strings"
	"testing"

	"service-manager/helpers/sm-fetch/store"
)

func TestSharedAddress(t *testing.T) {
	a := newApplier(t)
	at := func(service, address string) store.Change {
		return store.Change{ID: service, Document: []byte(`{"image": "app", "port": 80, "address": "` + address + `"}`)}
	}
	warnings := func() (found []string) {
		for _, line := range a.Log.(*lines).lines {
			if _, warning, ok := strings.Cut(line, ": address: "); ok {
				found = append(found, warning)
			}
		}
		return found
	}
	a.must(t, at("web", "10.0.0.1:80"))
	a.must(t, at("api", "10.0.0.1:81"))
	a = &Applier{Revisions: a.Revisions, Stop: a.Stop, Reload: a.Reload, Forget: a.Forget, Busy: a.Busy, Retry: a.Retry, Log: a.Log} // another run
	if got := warnings(); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	a.must(t, at("api", "10.0.0.1:80"))
	if got := warnings(); len(got) != 1 || got[0] != "10.0.0.1:80 is that of web, too; requests to it go to either" {
		t.Errorf("got %q", got)
	}
	a.must(t, at("api", "10.0.0.1:82"))
	a.must(t, store.Change{ID: "web", Deleted: true})
	a.must(t, at("new", "10.0.0.1:80"))
	if got := warnings(); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	a.Wait()
}

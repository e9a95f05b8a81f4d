package harness

// A BadRevision is a definition whose rollout fails, and what is said of that.
type BadRevision struct {
	Name       string
	Definition Definition
	Status     []string // parts of the runner's status line, and of the record
	Shown      []string // parts of what systemctl status shows
}

// BadRevisions returns revisions that are bad in all the ways that show when they
// start. The first needs EmptyRegistry at port 5001.
func BadRevisions() []BadRevision {
	impatient := map[string]any{"timeout": "3s"}
	return []BadRevision{
		{"unknown image", App("bad").With("image", "127.0.0.1:5001/none:1"),
			[]string{"pull image 127.0.0.1:5001/none:1: not found in the registry"}, nil},
		{"exits at once", App("bad", "APP_EXIT_AT_ONCE=1", "APP_EXIT_STATUS=3", "APP_LAST_LINE=no configuration"),
			[]string{"exited with status 3"}, []string{"no configuration"}},
		{"never healthy", App("bad", "APP_HEALTH=never").With("health_check", impatient),
			[]string{"not healthy after 3s: GET http://172.17.0.", ": 503 Service Unavailable"}, []string{"listening on"}},
		{"never healthy, and fails when it is stopped", App("bad", "APP_HEALTH=never", "APP_SHUTDOWN=fail", "APP_EXIT_STATUS=2").With("health_check", impatient),
			[]string{"not healthy after 3s: GET http://172.17.0.", "health_check.timeout gives it more time"}, nil},
		// 75 from a helper would be the host's failure.
		{"healthy, then dies", App("bad", "APP_EXIT_AFTER=900ms", "APP_EXIT_STATUS=75", "APP_LAST_LINE=out of luck"),
			[]string{"exited with status 75"}, []string{"out of luck"}},
	}
}

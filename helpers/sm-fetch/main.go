// The sm-fetch helper keeps the revisions of services on disk equal to the store
// of their definitions, and reloads systemd when that changes its units.
//
// The store is a CouchDB database or a folder of JSON files. sm-fetch never
// starts anything: the reload does.
package main

import (
	"context"
	"runtime/debug"

	"service-manager/helpers/internal/command"
)

const help = `
Usage: sm-fetch follow [FLAGS]
       sm-fetch once [FLAGS] [SERVICE...]

Keeps the revisions of services in /etc/service-manager/revisions equal to the
store of their definitions, and reloads systemd when its units change.

  follow  do so until stopped. It is ready once it has read the store, has found it
          unreachable, or has waited 10 seconds: services keep running from disk
  once    do so once, and wait until deleted services have stopped. The exit status
          is 1 if one of the named services, or any when none is named, is invalid
          or missing; the others are up to date anyway

The store is the CouchDB database that COUCHDB_URL names, in the environment or
else in /etc/service-manager/service-manager.conf, like
http://user:password@127.0.0.1:5984/services, or without that the folder
/etc/service-manager/services: one file NAME.json for each service. A folder may
be named in COUCHDB_URL, too, like file:///srv/services.

A definition is validated before anything is written. An invalid one is reported
on standard error, one line for each problem, and the last valid one stays. A
service that is deleted from the store is drained, stopped and removed. A store
that cannot be reached, or is missing, changes nothing.

The flags of both are for tests and images; 'sm-fetch follow -h' lists them.

A unit written by hand:

  [Service]
  Type=notify
  EnvironmentFile=-/etc/service-manager/service-manager.conf
  ExecStart=/usr/local/bin/sm-fetch follow
`

func main() {
	// It idles for ever after moments of work; this halves its memory.
	debug.SetGCPercent(20)
	command.Main("sm-fetch", func(ctx context.Context, w command.World) error {
		return run(ctx, w, realSystem{})
	})
}

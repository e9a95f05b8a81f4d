// Package native tests the product under a real systemd of both Debian releases,
// with the real Docker, without emulation: in a container of systemd-nspawn, on
// the kernel of this host. Where that kernel has no IPVS, sm-ipvs is built with a
// table in a file instead of the kernel's (build tag ipvs_file): its flags,
// records and messages are the real ones, and no connection is balanced.
//
// Its tests have the build tag native and need root; tests/run runs them where
// [service-manager/tests/harness.NativeProblem] finds nothing against it. Each
// machine ends with its test, also when the test is killed.
//
// A test looks like this:
//
//	func TestSomething(t *testing.T) {
//		forReleases(t, func(t *testing.T, release string) {
//			m := start(t, release)               // the product is installed
//			m.first(t, "web", app("r0"))         // the store, and all is quiet
//			f := m.inject(t, fault{Helper: "sm-ipvs", Verb: "add", What: hang})
//			m.edit(t, "web", app("r1"))          // returns at once
//			f.sprung(t)                          // it hangs now
//			f.kill(t)
//			m.serves(t, "web", "r0")             // only that is there, no job is left
//		})
//	}
//
// What does not depend on the release of systemd runs with onEither instead: on one of
// them, with -long on each.
//
// What a machine can do:
//
//	m.output(t, script)            stdout of a script, which must succeed
//	m.try(t, script)               stdout and stderr, exit status
//	m.waitFor(t, limit, script)    repeats it until all of its commands succeed
//	m.show(t, unit, property)      of systemctl show
//	m.edit, m.first                the folder store
//	m.serves, m.settled            a revision is all there is of a service; and is the newest
//	m.revision(t, service, link)   the revision that good or current names
//	m.inject(t, fault{…})          has a helper fail, hang or die
//	m.active(t, destination, n)    pretends that many connections (stand-in only)
//	m.reach(t, port, address)      the host's address as 127.0.0.1:port in it
//
// Tests run beside each other (forReleases says so to the testing package, and alone
// does not); a machine takes two or three seconds to start and 200 MB. Never start more than
// 100 containers in one, unless as TestTwoHundredServices does.
package native

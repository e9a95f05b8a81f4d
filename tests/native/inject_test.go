//go:build native

package native

import (
	"fmt"
	"testing"
)

// What a fault does to a process of a helper.
const (
	fail = "fail" // it exits with status 1
	lack = "lack" // it exits with the status for a failure of the host
	hang = "hang" // it waits, until it is killed or stopped
	kill = "kill" // it dies of SIGKILL
	mute = "mute" // it works, and systemd does not hear of it
	late = "late" // it waits for release, and works then
)

// A fault is what happens to the next process that it fits.
type fault struct {
	Helper string // such as "sm-ipvs"
	Verb   string // its first argument; empty for any
	Unit   string // of the process, a pattern of the shell's; empty for any
	What   string // one of the above
	After  bool   // when the helper has done its work
	Always bool   // to every process that it fits, until it is removed
}

// faults are those of a machine.
type faults struct {
	set     int
	trapped map[string]bool // helpers that are replaced by the wrapper
}

// An injection is a fault that has been set.
type injection struct {
	machine *machine
	file    string
}

// sandboxes lets faults reach helpers in the sandboxes of their units.
const sandboxes = `set -e
echo 'd /run/faults 0755' > /etc/tmpfiles.d/faults.conf
echo 'd /run/ipvs-table 0755' >> /etc/tmpfiles.d/faults.conf
for unit in sm-fetch sm-sweep sm-watch sm-start@ sm-retire@ sm-settle@ sm-scale@ sm-outage@; do
	mkdir -p /etc/systemd/system/$unit.service.d
	printf '[Service]\nReadWritePaths=-/run/faults -/run/ipvs-table\n' > /etc/systemd/system/$unit.service.d/faults.conf
done`

// wrapper stands in for a helper, which is in /usr/local/lib/trapped, and
// runs it unless a fault fits. A fault is a file of words: helper, verb, unit,
// what, whether after, whether always.
const wrapper = `#!/bin/bash
name=${0##*/} helper=/usr/local/lib/trapped/${0##*/} unit=
while read -r line; do
	case $line in 0::*) unit=${line##*/} ;; esac
done < /proc/self/cgroup
shopt -s nullglob
for file in /run/faults/*.fault; do
	read -r h verb pattern what after always < "$file" || continue
	[ "$h" = "$name" ] && { [ "$verb" = - ] || [ "$verb" = "$1" ]; } || continue
	case $unit in $pattern) ;; *) continue ;; esac
	[ "$always" = true ] || mv "$file" "$file.taken" 2>/dev/null || continue
	[ "$after" = false ] || "$helper" "$@" || exit
	echo $$ > "$file.new"
	mv "$file.new" "$file.pid"
	case $what in
		fail) echo "$name: error: a test has it fail" >&2; exit 1 ;;
		lack) echo "$name: error: a test has the host fail" >&2; exit 75 ;;
		kill) kill -9 $$ ;;
		hang) exec sleep infinity ;;
		mute) unset NOTIFY_SOCKET; exec "$helper" "$@" ;;
		late) until [ -e "$file.released" ]; do sleep 0.02; done; exec "$helper" "$@" ;;
	esac
done
exec "$helper" "$@"
`

// inject sets a fault.
func (m *machine) inject(t testing.TB, f fault) injection {
	t.Helper()
	word := func(word, empty string) string {
		if word == "" {
			return empty
		}
		return word
	}
	m.wrap(t, f.Helper)
	m.faults.set++
	i := injection{m, fmt.Sprintf("/run/faults/%03d.fault", m.faults.set)}
	m.output(t, fmt.Sprintf("echo '%s %s %s %s %t %t' > %s.new && mv %[7]s.new %[7]s",
		f.Helper, word(f.Verb, "-"), word(f.Unit, "*"), f.What, f.After, f.Always, i.file))
	return i
}

// wrap replaces a helper by the wrapper.
func (m *machine) wrap(t testing.TB, helper string) {
	t.Helper()
	if m.faults.trapped[helper] {
		return
	}
	if m.faults.trapped == nil {
		m.faults.trapped = map[string]bool{}
	}
	m.faults.trapped[helper] = true
	// At once: units call it meanwhile.
	m.output(t, fmt.Sprintf(`set -e
mkdir -p /usr/local/lib/trapped
cp -p /usr/local/bin/%s /usr/local/lib/trapped/
cp -p /usr/local/lib/wrapper /usr/local/bin/%[1]s.new
mv /usr/local/bin/%[1]s.new /usr/local/bin/%[1]s`, helper))
}

// sprung waits until the fault has met a process.
func (i injection) sprung(t testing.TB) {
	t.Helper()
	i.machine.waitFor(t, patience, "test -s "+i.file+".pid")
}

// kill waits until the fault has met a process, and kills that.
func (i injection) kill(t testing.TB) {
	t.Helper()
	i.sprung(t)
	i.machine.output(t, "kill -9 $(cat "+i.file+".pid)")
}

// release lets delayed processes do their work.
func (i injection) release(t testing.TB) {
	t.Helper()
	i.machine.output(t, "touch "+i.file+".released")
}

// remove removes a fault that is for every process. A process that already hangs stays
// so.
func (i injection) remove(t testing.TB) {
	t.Helper()
	i.machine.output(t, "rm -f "+i.file)
}

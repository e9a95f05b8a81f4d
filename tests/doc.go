// Package tests holds what needs a machine: tests that install service-manager
// in a virtual machine and watch it work there, under load and under faults.
// They have the build tag machine, so that plain "go test ./..." is quick and
// needs no root; tests/run runs everything.
//
//	native/  tests in containers with a systemd of their own, without emulation
//	harness/ what native and virtual machines are made of
//	vm/      makes the virtual machine
//	load/    the client that counts lost requests
//	app/     the application that is deployed
//	runner/  runs all tests and counts them
//	demo/    what install.sh --demo shows
//	measure/ measures what a command takes
//	pouchdb/ a foreign CouchDB server
//	lint/    finds the sources that the rules of the repository hold for
package tests

// Package harness has what the tests of machines share: the parts that machines
// are made of, kept in a cache, and how processes are started that end with the
// tests.
package harness

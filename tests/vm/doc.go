// Package vm makes disposable Debian machines for tests: a real systemd as
// process 1, a real kernel with IPVS, a real Docker, in a virtual machine that
// QEMU emulates in software, so that it needs no hardware support and no
// privileges beyond building its disk.
//
// The parts are made once and cached in $XDG_CACHE_HOME/service-manager, each
// under a name that holds a hash of what it is made from:
//
//	qemu-…, nginx-…         the emulator, a container image
//	root-bookworm-…/        the files of Debian with Docker
//	disk-bookworm-…/        those on a disk
//	  base-…/               snapshot: booted, test images in Docker
//	    installed-…/        snapshot derived from it, and so on
//
// A snapshot holds a running machine. Starting a [Guest] from it takes about two
// seconds: the memory is mapped copy-on-write, and the disk is an overlay, so any
// number of guests share one snapshot and none changes it.
//
// Guests have no network but the loopback ports that the host forwards, and die
// with the process that started them unless they were started with Keep.
package vm

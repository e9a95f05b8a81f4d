package main

import (
	"io"
	"os"
)

// openKernelLog opens the kernel's message buffer, which the journal picks up later.
func openKernelLog() (io.WriteCloser, error) { return os.OpenFile("/dev/kmsg", os.O_WRONLY, 0) }

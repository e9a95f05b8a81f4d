package main

import (
	"io"
	"os"
)

// kernelLog is the kernel's message buffer, which the journal picks up later.
type kernelLog struct{ *os.File }

func openKernelLog() (io.WriteCloser, error) {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	return kernelLog{f}, err
}

// priority returns how a line for out has to begin for it to be an error.
func priority(out io.Writer) string {
	if _, ok := out.(kernelLog); ok {
		return "<3>"
	}
	return ""
}

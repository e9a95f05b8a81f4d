package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
)

// ending says how a container ended, in words.
func ending(s container.State) string {
	var text string
	signal := signalOf(s.ExitCode)
	switch {
	case signal == unix.SIGKILL && s.OOMKilled:
		text = "killed by SIGKILL (out of memory)"
	case signal != 0:
		text = fmt.Sprintf("killed by %s (status %d)", unix.SignalName(signal), s.ExitCode)
	default:
		text = fmt.Sprintf("exited with status %d", s.ExitCode)
	}
	if s.OOMKilled && signal != unix.SIGKILL {
		text += ", after one of its processes ran out of memory"
	}
	if s.Error != "" {
		text += ": " + s.Error
	}
	return text
}

// exitStatus returns with what status this process ends for a container's. TempFail is
// not the container's to use: it says that the host failed, for which no revision is
// rejected.
func exitStatus(status int) int {
	if status == command.TempFail {
		return 1
	}
	return status & 0xff
}

// signalOf returns the signal that an exit status stands for, 0 for none. Docker
// reports a death by signal n as 128+n, like a shell.
func signalOf(status int) syscall.Signal {
	signal := syscall.Signal(status - 128)
	if unix.SignalName(signal) == "" {
		return 0
	}
	return signal
}

// parseSignal reads a signal as Docker has it in an image or container: "SIGQUIT",
// "QUIT" or "3", and "" for SIGTERM. The result is 0 for what is none of these.
func parseSignal(text string) syscall.Signal {
	text = strings.ToUpper(text)
	if text == "" {
		return unix.SIGTERM
	}
	if n, err := strconv.Atoi(text); err == nil {
		return syscall.Signal(n)
	}
	return unix.SignalNum("SIG" + strings.TrimPrefix(text, "SIG"))
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// Command measure runs a command several times and prints how long it took, at
// the median, and how much memory it had at most. It runs in the test machine,
// which has nothing that measures this.
//
//	measure 5 /tmp/out /path/generator /tmp/out
//	2.1ms 4096KB
//
// The folder is empty each time, as it is for a generator.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "measure: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: measure TIMES FOLDER /COMMAND [ARGUMENT…]")
	}
	folder, command := args[1], args[2:]
	times, err := strconv.Atoi(args[0])
	if err != nil || times < 1 {
		return fmt.Errorf("not a number of times: %q", args[0])
	}
	var took []time.Duration
	var peak int64
	for range times {
		if err := errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o755)); err != nil {
			return err
		}
		begin := time.Now()
		pid, err := syscall.ForkExec(command[0], command, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
		if err != nil {
			return fmt.Errorf("start %s: %w", command[0], err)
		}
		var status syscall.WaitStatus
		var usage syscall.Rusage
		for {
			if _, err = syscall.Wait4(pid, &status, 0, &usage); err != syscall.EINTR {
				break
			}
		}
		took = append(took, time.Since(begin))
		if err != nil || !status.Exited() || status.ExitStatus() != 0 {
			return fmt.Errorf("%s: wait status %#x %v", command[0], uint32(status), err)
		}
		// Not less than this process had when it started that one; that is little.
		peak = max(peak, usage.Maxrss)
	}
	slices.Sort(took)
	fmt.Printf("%.1fms %dKB\n", float64(took[len(took)/2].Microseconds())/1000, peak)
	return nil
}

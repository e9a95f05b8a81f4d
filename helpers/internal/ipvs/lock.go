package ipvs

import (
	"context"
	"os"
	"path/filepath"

	"service-manager/units/filelock"
)

// runFolder is where the helpers keep what is true until the next boot.
const runFolder = "/run/service-manager"

// lockFile keeps two helpers from changing virtual services at the same time: one would
// remove a service that has become empty just as another adds to it. Tests have their own.
var lockFile = runFolder + "/ipvs.lock"

// lock waits for the right to change virtual services; waiting, if not nil, is told who
// has it when that takes long. The returned function gives it back, as does the end of
// the process.
func lock(ctx context.Context, waiting func(holder string)) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(lockFile), 0o755); err != nil {
		return nil, err
	}
	file, err := filelock.NewWaiter(waiting).Open(ctx, lockFile)
	if err != nil {
		return nil, err
	}
	return func() { file.Close() }, nil
}

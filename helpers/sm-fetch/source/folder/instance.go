package folder

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// instanceOf tells the folder at path from all that have been or will be there. It
// has the time of the folder's birth, because the number of an inode is soon used
// again, and the folder's own path, for replaced. The error is that of stat.
func instanceOf(path string) (string, error) {
	whole, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, whole, 0, unix.STATX_INO|unix.STATX_BTIME, &stat); err != nil {
		return "", fmt.Errorf("look at %s: %w", whole, err)
	}
	if stat.Mask&unix.STATX_BTIME == 0 {
		stat.Btime = unix.StatxTimestamp{} // this file system does not know
	}
	return fmt.Sprintf("%d:%d.%09d %s", stat.Ino, stat.Btime.Sec, stat.Btime.Nsec, whole), nil
}

// replaced reports whether one folder has taken another one's place: it was made
// again, or a file system was mounted or unmounted there. Files that were in the one
// and are not in the other have not been removed then. A link that was turned to
// another folder is no such thing: that is the way to change all files at once.
func replaced(was, is string) bool {
	wasNode, wasPath, _ := strings.Cut(was, " ")
	isNode, isPath, _ := strings.Cut(is, " ")
	return was != "" && wasPath == isPath && wasNode != isNode
}

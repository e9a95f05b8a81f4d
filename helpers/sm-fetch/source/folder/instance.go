package folder

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// instanceOf distinguishes the folder at path from all others that have been or will be
// there. It contains the folder's birth time, because inode numbers are soon used again,
// and the folder's own path, for replaced. The error is that of stat.
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
		stat.Btime = unix.StatxTimestamp{} // this file system does not record it
	}
	return fmt.Sprintf("%d:%d.%09d %s", stat.Ino, stat.Btime.Sec, stat.Btime.Nsec, whole), nil
}

// replaced reports whether one folder has replaced another: it was made again, or a file
// system was mounted or unmounted there. Files that are missing from the new one have not
// been removed then. A link that was turned to another folder is different: that is the
// way to change all files at once.
func replaced(was, is string) bool {
	wasNode, wasPath, _ := strings.Cut(was, " ")
	isNode, isPath, _ := strings.Cut(is, " ")
	return was != "" && wasPath == isPath && wasNode != isNode
}

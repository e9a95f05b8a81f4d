package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"service-manager/helpers/sm-fetch/source"
	"service-manager/units/definition"
	"service-manager/units/name"
)

// errNoFolder says that there is no folder, which tells nothing about services.
var errNoFolder = errors.New("the folder does not exist")

const suffix = ".json"

// scanner looks at a folder again and again to find out what has changed.
type scanner struct {
	path   string
	times  Times
	report func(problem string)
	// instance is the folder that the files were last seen in, empty before the first look.
	instance string
	files    map[name.Service]*file
	// linked are the folders of files that are only linked to, sorted.
	linked   []string
	reported map[string]bool
}

// file is what is known of one definition's file.
type file struct {
	seen   signature // at the last look
	since  time.Time // when it was first seen like that
	handed signature // when it was last handed over
	gone   bool      // not there since that time
}

// signature changes whenever a file's content does.
type signature struct {
	device, inode uint64
	size          int64
	changed       syscall.Timespec
	modified      syscall.Timespec
}

func newScanner(path string, times Times, report func(string)) *scanner {
	s := &scanner{path: path, times: times, report: report, reported: make(map[string]bool)}
	s.forget()
	return s
}

// forget makes the next look find everything again.
func (s *scanner) forget() {
	s.instance = ""
	s.files = make(map[name.Service]*file)
}

// expect notes services that should have a file, and reports whether any has none: such a
// file has just gone.
func (s *scanner) expect(services []name.Service, now time.Time) bool {
	missing := false
	for _, service := range services {
		if s.files[service] == nil {
			s.files[service] = &file{gone: true, since: now}
			missing = true
		}
	}
	return missing
}

// exists reports whether the folder was there at the last look.
func (s *scanner) exists() bool { return s.instance != "" }

// present returns the services that had a file at the last look.
func (s *scanner) present() map[name.Service]bool {
	present := make(map[name.Service]bool)
	for service, f := range s.files {
		if !f.gone {
			present[service] = true
		}
	}
	return present
}

// findings are the results of a look.
type findings struct {
	changes []source.Change
	// unsettled says that another look is needed even if nothing changes.
	unsettled bool
}

// look finds what has changed since the last look. The error is ErrAgain when the
// folder has been replaced since then.
func (s *scanner) look(now time.Time) (findings, error) {
	instance, err := instanceOf(s.path)
	var entries []os.DirEntry
	if err == nil {
		entries, err = os.ReadDir(s.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		s.forget()
		return findings{}, errNoFolder
	}
	if err != nil {
		return findings{}, err
	}
	if replaced(s.instance, instance) {
		return findings{}, source.ErrAgain
	}
	s.instance = instance

	var found findings
	there := make(map[name.Service]bool)
	linked := make(map[string]bool)
	for _, entry := range entries {
		service, ok := s.service(entry.Name())
		if !ok {
			continue
		}
		path := filepath.Join(s.path, entry.Name())
		link := entry.Type()&fs.ModeSymlink != 0
		if link {
			if folder := linkedFolder(path); folder != "" {
				linked[folder] = true
			}
		}
		is, err := sign(path)
		gone := errors.Is(err, fs.ErrNotExist)
		if gone && !link {
			continue
		}
		there[service] = true
		f := s.files[service]
		if f == nil {
			f = &file{}
			s.files[service] = f
		}
		if gone {
			// What it leads to may just not be mounted.
			s.once(entry.Name(), fmt.Sprintf("%s: %s leads to nothing; the service stays as it is", service, path))
			f.gone = false
			continue
		}
		if is != f.seen || f.gone || f.since.IsZero() {
			f.seen, f.since, f.gone = is, now, false
		}
		change, settled := s.read(service, f, now)
		if change != nil {
			found.changes = append(found.changes, *change)
		}
		found.unsettled = found.unsettled || !settled
	}
	s.linked = slices.Sorted(maps.Keys(linked))
	for service, f := range s.files {
		if there[service] {
			continue
		}
		if !f.gone {
			f.gone, f.since = true, now
		}
		if now.Sub(f.since) < s.times.Absent {
			found.unsettled = true
			continue
		}
		delete(s.files, service)
		found.changes = append(found.changes, source.Change{Service: service, Deleted: true})
	}
	return found, nil
}

// linkedFolder returns the folder of the file that a link leads to, or would lead to if
// it existed.
func linkedFolder(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	if whole, err := filepath.EvalSymlinks(path); err == nil {
		target = whole
	} else if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(path), target)
	}
	return filepath.Dir(target)
}

// service returns the service that a file defines, and whether it defines any.
// Editors leave all kinds of other files beside it for a while.
func (s *scanner) service(file string) (name.Service, bool) {
	stem, ok := strings.CutSuffix(file, suffix)
	if !ok || strings.HasPrefix(file, ".") || strings.HasPrefix(file, "#") {
		return "", false
	}
	service, err := name.ParseService(stem)
	if err != nil {
		s.once(file, fmt.Sprintf("%s is ignored: the name of a service %v", filepath.Join(s.path, file), err))
		return "", false
	}
	return service, true
}

// once reports a problem with a file the first time that it occurs.
func (s *scanner) once(file, problem string) {
	if key := file + "\x00" + problem; !s.reported[key] {
		s.reported[key] = true
		s.report(problem)
	}
}

// read returns the definition in a file that has changed. It is settled unless
// another look at it is needed.
func (s *scanner) read(service name.Service, f *file, now time.Time) (change *source.Change, settled bool) {
	if f.seen == f.handed {
		return nil, true
	}
	// Within a tick of the clock a file may change again and look the same.
	if age := now.Sub(time.Unix(f.seen.changed.Unix())); age >= 0 && age < tick {
		return nil, false
	}
	path := filepath.Join(s.path, string(service)+suffix)
	document, err := readFile(path)
	is, unsigned := sign(path)
	if errors.Is(unsigned, fs.ErrNotExist) || unsigned == nil && is != f.seen {
		return nil, false // it has changed since that look
	}
	if err == nil && unsigned != nil {
		err = reason(unsigned)
	}
	if err != nil {
		s.once(string(service), fmt.Sprintf("%s: %s cannot be read: %v; the service stays as it is",
			service, path, err))
		return nil, true
	}
	if !definition.Complete(document) && now.Sub(f.since) < s.times.Settle {
		return nil, false
	}
	f.handed = f.seen
	return &source.Change{Service: service, Document: document}, true
}

// tick is longer than a tick of the kernel's clock for files.
const tick = 20 * time.Millisecond

// readFile returns the content of a regular file, up to just over the size of the largest
// definition.
func readFile(path string) ([]byte, error) {
	// Opening a pipe would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	document, err := io.ReadAll(io.LimitReader(f, definition.MaxSize+1))
	return document, reason(err)
}

func sign(path string) (signature, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		return signature{}, err
	}
	return signature{stat.Dev, stat.Ino, stat.Size, stat.Ctim, stat.Mtim}, nil
}

// reason leaves the path out of an error.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

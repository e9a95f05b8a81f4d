package definition

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// volumeOptions are what may stand behind the second colon, by what they decide.
// Docker takes one of each group.
var volumeOptions = [][]string{
	{"ro", "rw"},
	{"z", "Z"},
	{"nocopy"},
	{"private", "rprivate", "shared", "rshared", "slave", "rslave"},
	{"consistent", "cached", "delegated"},
}

var volumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// checkVolume returns an error unless s says where what the container keeps is on the
// host. Docker would find the same mistakes once the rollout has begun.
func checkVolume(s string) error {
	parts := strings.Split(s, ":")
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("must not contain control characters")
	}
	switch len(parts) {
	case 1:
		return errors.New("must be SOURCE:TARGET; without a source, the data would go with the container")
	case 2, 3:
	default:
		return errors.New("must be SOURCE:TARGET or SOURCE:TARGET:OPTIONS")
	}
	source, target := parts[0], parts[1]
	named := !strings.HasPrefix(source, "/")
	switch {
	case named && !volumeName.MatchString(source):
		return errors.New("must have an absolute path or a volume's name before the first colon")
	case !strings.HasPrefix(target, "/"):
		return errors.New("must have an absolute path as its target")
	case path.Clean(target) == "/":
		return errors.New("must have a target other than the container's root")
	case len(parts) == 3:
		return checkVolumeOptions(strings.Split(parts[2], ","), named)
	}
	return nil
}

func checkVolumeOptions(options []string, named bool) error {
	chosen := make(map[int]string)
	for _, option := range options {
		group := slices.IndexFunc(volumeOptions, func(g []string) bool { return slices.Contains(g, option) })
		switch {
		case group < 0:
			return fmt.Errorf("must have options like ro or ro,z after the second colon; %q is not one", option)
		case chosen[group] != "":
			return fmt.Errorf("must not have the options %s and %s together", chosen[group], option)
		case named && group == 3:
			return fmt.Errorf("must not have the option %s, which is for paths of the host only", option)
		case !named && option == "nocopy":
			return errors.New("must not have the option nocopy, which is for named volumes only")
		}
		chosen[group] = option
	}
	return nil
}

// volumes passes on the volumes of a definition, no two of which may meet.
func (p *parser) volumes(field string, value json.RawMessage) {
	volumes := p.list(field, value, checkVolume)
	at := make(map[string]int)
	for i, v := range volumes {
		parts := strings.Split(v, ":")
		if len(parts) < 2 {
			continue // reported already
		}
		target := path.Clean(parts[1])
		if first, taken := at[target]; taken {
			p.problem(fmt.Sprintf("%s[%d]", field, i), "has the same target as %s[%d], %s", field, first, target)
			continue
		}
		at[target] = i
		p.d.Flags = append(p.d.Flags, Flag{field, "--volume", v})
	}
}

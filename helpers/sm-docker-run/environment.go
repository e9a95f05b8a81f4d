package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"service-manager/units/definition"
	"service-manager/units/smallfile"
)

// environment returns the variables of a container: those of the file with a
// definition, and those given one by one, which override them. Arguments can be
// read by every user of the host, files need not be. No error has a value in it.
func environment(file string, given []string) ([]string, error) {
	if file == "" {
		return given, nil
	}
	document, err := smallfile.Read(file, definition.MaxSize)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return nil, fmt.Errorf("--environment-from %s: %w", file, path.Err)
	case err != nil:
		return nil, fmt.Errorf("--environment-from %s: %w", file, err)
	}
	variables, err := definition.Environment(document)
	if err != nil {
		return nil, fmt.Errorf("--environment-from %s: %w", file, err)
	}
	all := make([]string, 0, len(variables)+len(given))
	for _, v := range variables {
		overridden := slices.ContainsFunc(given, func(g string) bool { return strings.HasPrefix(g, v.Name+"=") })
		if !overridden {
			all = append(all, v.Name+"="+v.Value)
		}
	}
	return append(all, given...), nil
}

package main

import (
	"strings"

	"service-manager/helpers/internal/command"
	"service-manager/units/definition"
)

// operands returns the arguments of a command that takes one for each name.
func operands(w command.World, names ...string) ([]string, error) {
	flags := command.NewFlags("sm-rollout", help)
	if err := flags.Parse(w, w.Args); err != nil {
		return nil, err
	}
	if flags.NArg() != len(names) {
		return nil, command.Usagef("%s must be given, and nothing else", strings.Join(names, " and "))
	}
	if err := definition.CheckService(flags.Arg(0)); err != nil {
		return nil, command.Usagef("SERVICE: %w", err)
	}
	return flags.Args(), nil
}

func serviceAndRevision(w command.World) (service, revision string, err error) {
	given, err := operands(w, "SERVICE", "REVISION")
	if err != nil {
		return "", "", err
	}
	if err := definition.CheckRevision(given[1]); err != nil {
		return "", "", command.Usagef("REVISION: %w", err)
	}
	return given[0], given[1], nil
}

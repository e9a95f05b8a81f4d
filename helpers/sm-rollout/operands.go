package main

import (
	"context"
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
	return flags.Args(), nil
}

// ofService makes a command of a function that takes a service.
func ofService(ctx context.Context, do func(ctx context.Context, service string) error) func(command.World) error {
	return func(w command.World) error {
		given, err := operands(w, "SERVICE")
		if err != nil {
			return err
		}
		if err := definition.CheckService(given[0]); err != nil {
			return command.Usagef("SERVICE: %w", err)
		}
		return do(ctx, given[0])
	}
}

// ofRevision makes a command of a function that takes a revision of a service.
func ofRevision(ctx context.Context, do func(ctx context.Context, service, revision string) error) func(command.World) error {
	return func(w command.World) error {
		given, err := operands(w, "SERVICE", "REVISION")
		if err != nil {
			return err
		}
		if err := checkNames(given[0], given[1]); err != nil {
			return err
		}
		return do(ctx, given[0], given[1])
	}
}

// runnerName reads the name of a runner without ".service": a template of a unit
// has it as one word.
func runnerName(w command.World) (service, revision string, err error) {
	given, err := operands(w, "SERVICE@REVISION")
	if err != nil {
		return "", "", err
	}
	service, revision, _ = strings.Cut(given[0], "@")
	return service, revision, checkNames(service, revision)
}

func checkNames(service, revision string) error {
	if err := definition.CheckService(service); err != nil {
		return command.Usagef("SERVICE: %w", err)
	}
	if err := definition.CheckRevision(revision); err != nil {
		return command.Usagef("REVISION: %w", err)
	}
	return nil
}

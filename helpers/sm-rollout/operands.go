package main

import (
	"context"
	"strings"

	"service-manager/helpers/internal/command"
	"service-manager/units/name"
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

// ofService turns a function that takes a service into a command.
func ofService(ctx context.Context, do func(ctx context.Context, service name.Service) error) func(command.World) error {
	return func(w command.World) error {
		given, err := operands(w, "SERVICE")
		if err != nil {
			return err
		}
		service, err := name.ParseService(given[0])
		if err != nil {
			return command.Usagef("SERVICE: %w", err)
		}
		return do(ctx, service)
	}
}

// ofRunner turns a function that takes a runner into a command, whose operands are the
// service and the revision, with the runner's number if it is not the first one.
func ofRunner(ctx context.Context, do func(ctx context.Context, runner name.Runner) error) func(command.World) error {
	return func(w command.World) error {
		given, err := operands(w, "SERVICE", "REVISION")
		if err != nil {
			return err
		}
		runner, err := name.ParseRunner(given[0], given[1])
		if err != nil {
			return command.Usagef("%w", err)
		}
		return do(ctx, runner)
	}
}

// ofUnit turns a function that takes a runner into a command, whose operand is the
// runner's unit: a template has that as one word.
func ofUnit(ctx context.Context, do func(ctx context.Context, runner name.Runner) error) func(command.World) error {
	return func(w command.World) error {
		given, err := operands(w, "SERVICE@REVISION")
		if err != nil {
			return err
		}
		runner, err := name.ParseUnit(given[0])
		if err != nil {
			return command.Usagef("%w", err)
		}
		return do(ctx, runner)
	}
}

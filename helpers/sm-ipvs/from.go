package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/hint"
	"service-manager/helpers/internal/ipvs"
	"service-manager/helpers/internal/ipvs/reach"
)

// Where the client is that check tries an address as.
const (
	fromOutside   = "outside"
	fromContainer = "container"
	// defaultBridge is the network of containers that name none.
	defaultBridge = "docker0"
)

// bridgeOf parses --from: the bridge of a container's network, or empty for a client
// outside.
func bridgeOf(from string) (bridge string, err error) {
	where, bridge, named := strings.Cut(from, ":")
	switch {
	case where == fromContainer && !named:
		return defaultBridge, nil
	case where == fromContainer && bridge != "":
		return bridge, nil
	case from == fromOutside:
		return "", nil
	}
	return "", command.Usagef("--from: must be %s, %s or %[2]s:BRIDGE (got %q)", fromOutside, fromContainer, from)
}

// checkFrom returns an error that says what is in the way of a client.
func checkFrom(ctx context.Context, at ipvs.Address, from, bridge string) error {
	outcome, err := reach.Try(ctx, bridge, at.AddrPort)
	switch {
	case errors.Is(err, reach.ErrNoBridge):
		return hint.Add(fmt.Errorf("check %s from %s: %w", at, from, err), "run ip link show type bridge, and give one with --from %s:BRIDGE", fromContainer)
	case errors.Is(err, unix.EPERM):
		return hint.Add(fmt.Errorf("check %s from %s: %w", at, from, err), "run this as root (it needs CAP_SYS_ADMIN and CAP_NET_ADMIN)")
	case err != nil:
		return fmt.Errorf("check %s from %s: %w", at, from, err)
	case outcome.Err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	who := "a client outside"
	if bridge != "" {
		who = "a container on " + bridge
	}
	sees := "gets no connection"
	switch {
	case errors.Is(outcome.Err, reach.ErrNoAnswer):
		sees = "gets no answer"
	case errors.Is(outcome.Err, unix.ECONNREFUSED):
		sees = "is refused"
	}
	if len(outcome.Drops) == 0 {
		err = fmt.Errorf("%s: %s %s, and no rule of nftables is in its way", at, who, sees)
		if errors.Is(outcome.Err, unix.ECONNREFUSED) {
			return hint.Add(err, "the container may not listen on the port that the destination has; run sm-ipvs list %s", at)
		}
		return hint.Add(err, "a container may not answer, or a rule of iptables-legacy may be in the way; run iptables-legacy-save")
	}
	drop := outcome.Drops[0]
	chain := fmt.Sprintf("%s %s %s", drop.Family, drop.Table, drop.Chain)
	what := "the policy"
	if drop.Handle != 0 {
		what = fmt.Sprintf("rule %d", drop.Handle)
		if text := ruleText(ctx, drop); text != "" {
			what = fmt.Sprintf("the rule %q", text)
		}
	}
	return hint.Add(fmt.Errorf("%s: %s %s: %s of chain %s is in its way", at, who, sees, what, chain), "run nft -a list chain %s", chain)
}

// counters are a part of a rule that says nothing about what it does.
var counters = regexp.MustCompile(` ?counter packets \d+ bytes \d+`)

// ruleText returns a rule as nft shows it, empty where nft is not installed.
func ruleText(ctx context.Context, drop reach.Drop) string {
	out, err := exec.CommandContext(ctx, "nft", "-a", "list", "chain", drop.Family, drop.Table, drop.Chain).Output()
	if err != nil {
		return ""
	}
	return ruleWith(string(out), drop.Handle)
}

// ruleWith finds the rule with a handle in the listing of a chain.
func ruleWith(listing string, handle uint64) string {
	for line := range strings.Lines(listing) {
		rule, found := strings.CutSuffix(strings.TrimSpace(line), fmt.Sprintf(" # handle %d", handle))
		if found {
			return strings.TrimSpace(counters.ReplaceAllString(rule, ""))
		}
	}
	return ""
}

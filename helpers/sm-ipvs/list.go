package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"service-manager/helpers/internal/command"
	"service-manager/helpers/internal/ipvs"
)

const listHelp = `
Usage: sm-ipvs list [--json] [ADDRESS]

Shows the virtual services of this host, or the one at ADDRESS, one line for each
destination. One of weight 0 gets no new connections: it is draining, has yet to
open, or is unhealthy. ACTIVE are open connections, INACTIVE closed ones that the
kernel remembers for a while.
`

func list(_ context.Context, w command.World) error {
	flags := command.NewFlags("sm-ipvs list", listHelp)
	asJSON := flags.Bool("json", false, "print a JSON array instead")
	if err := flags.Parse(w, w.Args); err != nil {
		return err
	}
	var services []ipvs.Service
	var err error
	switch flags.NArg() {
	case 0:
		services, err = allServices()
	case 1:
		var at ipvs.Address
		if at, err = address(flags.Arg(0)); err != nil {
			return err
		}
		services, err = allServices()
		services = slices.DeleteFunc(services, func(s ipvs.Service) bool { return s.FWMark != 0 || s.Address != at })
	default:
		return command.Usagef("at most one address may be given (got %d)", flags.NArg())
	}
	if err != nil {
		return err
	}
	if *asJSON {
		return writeJSON(w.Stdout, services)
	}
	return writeTable(w.Stdout, services)
}

// allServices returns every virtual service in an order that does not change
// between calls; none when the kernel has no IPVS.
func allServices() ([]ipvs.Service, error) {
	handle, err := ipvs.Open()
	if errors.Is(err, ipvs.ErrUnavailable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	services, err := handle.Services()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(services, func(a, b ipvs.Service) int {
		return cmp.Or(
			cmp.Compare(a.FWMark, b.FWMark),
			a.Address.Compare(b.Address.AddrPort),
			cmp.Compare(a.Address.Protocol, b.Address.Protocol),
		)
	})
	for _, s := range services {
		slices.SortFunc(s.Destinations, func(a, b ipvs.Destination) int { return a.Address.Compare(b.Address) })
	}
	return services, nil
}

func writeTable(out io.Writer, services []ipvs.Service) error {
	if len(services) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VIRTUAL SERVICE\tSCHEDULER\tDESTINATION\tWEIGHT\tACTIVE\tINACTIVE")
	for _, s := range services {
		if len(s.Destinations) == 0 {
			fmt.Fprintf(table, "%s\t%s\t-\t-\t-\t-\n", s.Name(), s.Scheduler)
		}
		for _, d := range s.Destinations {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\n", s.Name(), s.Scheduler, d.Address, d.Weight, d.ActiveConnections, d.InactiveConnections)
		}
	}
	return table.Flush()
}

type jsonService struct {
	Address      string            `json:"address,omitempty"`
	Protocol     string            `json:"protocol,omitempty"`
	FWMark       uint32            `json:"fwmark,omitempty"`
	Scheduler    string            `json:"scheduler"`
	Destinations []jsonDestination `json:"destinations"`
}

type jsonDestination struct {
	Address             string `json:"address"`
	Weight              int    `json:"weight"`
	ActiveConnections   int    `json:"active_connections"`
	InactiveConnections int    `json:"inactive_connections"`
}

func writeJSON(out io.Writer, services []ipvs.Service) error {
	all := make([]jsonService, 0, len(services))
	for _, s := range services {
		entry := jsonService{FWMark: s.FWMark, Scheduler: s.Scheduler, Destinations: []jsonDestination{}}
		if s.FWMark == 0 {
			entry.Address, entry.Protocol = s.Address.AddrPort.String(), s.Address.Protocol.String()
		}
		for _, d := range s.Destinations {
			entry.Destinations = append(entry.Destinations, jsonDestination{d.Address.String(), d.Weight, d.ActiveConnections, d.InactiveConnections})
		}
		all = append(all, entry)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}

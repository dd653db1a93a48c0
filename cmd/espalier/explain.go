package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"espalier/cmd/espalier/config"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
	"espalier/proxier/trace"
)

// explain is the command that follows a packet through the rules.
type explain struct {
	flags    *config.Flags
	from, to string
	protocol string
	in       string
	paths    bool
}

func explainCommand() *cobra.Command {
	e := explain{flags: config.NewFlags()}
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say what becomes of a packet, and by which rules",
		Long: `Say what becomes of the first packet of a connection: which endpoints it can reach and how likely each is, whether its
source is masqueraded, whether it is refused or dropped; and show the rules that it matches on the way.

The packet is a thought: none is sent. The rules are those that this node has, which takes the privileges of
iptables-save; or, with --manifests or --kubeconfig, those that it should have.`,
		Example: `  # Where does this node send a pod that asks for a cluster IP?
  espalier explain --from 10.244.1.7 --to 10.96.0.10:53 --protocol udp

  # Where would it, with these manifests?
  espalier explain --manifests shop.yaml --cluster-cidr 10.244.0.0/16 --from 192.168.1.9 --to 10.96.4.1:80`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.run(cmd.Context(), cmd.Flags(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	e.flags.AddSource(cmd.Flags())
	e.flags.AddRules(cmd.Flags())
	cmd.Flags().StringVar(&e.from, "from", "", "The source address. One of this node, or of 127.0.0.0/8: a process of the node sends the packet.")
	cmd.Flags().StringVar(&e.to, "to", "", "The destination: ADDRESS:PORT, or [ADDRESS]:PORT with IPv6.")
	cmd.Flags().StringVar(&e.protocol, "protocol", "tcp", "The protocol: tcp, udp or sctp.")
	cmd.Flags().StringVar(&e.in, "in", "", "The interface by which the packet comes. Default: one that no rule names.")
	cmd.Flags().BoolVar(&e.paths, "all", false, "Show the rules on the way to each endpoint, not only to the first one.")
	return cmd
}

// packet reads the flags. Of a packet without an interface it is left open who sends it.
func (e *explain) packet() (trace.Packet, error) {
	var errs []error
	from, err := netip.ParseAddr(e.from)
	if err != nil {
		errs = append(errs, fmt.Errorf("--from: %q is not an IP address", e.from))
	}
	to, err := netip.ParseAddrPort(e.to)
	if err != nil {
		errs = append(errs, fmt.Errorf("--to: %q is not an address and a port like 10.96.0.10:53", e.to))
	}
	protocol, err := ipproto.ParseProto(strings.ToUpper(e.protocol))
	if err != nil {
		errs = append(errs, fmt.Errorf("--protocol: %w", err))
	}
	if len(errs) > 0 {
		return trace.Packet{}, errors.Join(errs...)
	}
	from, dst := from.Unmap(), to.Addr().Unmap()
	if ipproto.FamilyOf(from) != ipproto.FamilyOf(dst) {
		return trace.Packet{}, fmt.Errorf("--from %s and --to %s are not of the same IP family", from, to)
	}
	return trace.Packet{Src: from, Dst: dst, DstPort: to.Port(), Proto: protocol, In: e.in}, nil
}

func (e *explain) run(ctx context.Context, fs *pflag.FlagSet, stdin io.Reader, stdout, stderr io.Writer) error {
	packet, err := e.packet()
	if err != nil {
		return err
	}
	family := ipproto.FamilyOf(packet.Dst)
	host := trace.Host{}
	if host.Addrs, err = interfaceAddrs(family); err != nil {
		return err
	}
	if packet.In == "" && !packet.Src.IsLoopback() && !slices.Contains(host.Addrs, packet.Src) {
		packet.In = "?" // of which no interface has the name
	}
	cfg, err := checked(e.flags, fs, stderr)
	if err != nil {
		return err
	}
	var rules ruleset.Ruleset
	if cfg.Source.Manifests == "" && cfg.Source.Kubeconfig == "" && cfg.Source.Master == "" {
		rules, err = ofKernel(ctx, cfg.Backend, family)
	} else {
		rules, err = planned(ctx, cfg, family, kernelFacts{liberal: machine.ConntrackLiberal()}, stdin, stderr)
		rules = trace.Attach(rules)
	}
	if err != nil {
		return err
	}
	result, err := trace.Walk(rules, host, packet)
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, e.text(packet, result, family))
	return err
}

// text is what the command prints.
func (e *explain) text(p trace.Packet, r trace.Result, f ipproto.Family) string {
	var b strings.Builder
	who := "a process of this node"
	if p.In != "" {
		who = p.Src.String()
	}
	fmt.Fprintf(&b, "%s to %s (%s)\n", who, netip.AddrPortFrom(p.Dst, p.DstPort), p.Proto)
	for i, o := range r.Outcomes {
		fmt.Fprintf(&b, "\n%s\n", meaning(o))
		if i > 0 && !e.paths {
			continue
		}
		for n, path := range o.Paths {
			if n > 0 && !e.paths {
				break
			}
			b.WriteString(indented(path.Text(f)))
		}
	}
	for _, s := range r.Unknown {
		fmt.Fprintf(&b, "\nNot understood, and taken for a rule that does not match:\n%s\n", indented(s.Text(f)))
	}
	return b.String()
}

// meaning says what becomes of the packet in words.
func meaning(o trace.Outcome) string {
	if o.Verdict == trace.None {
		return "no rule takes it: it goes where the routing table says"
	}
	return o.String()
}

func indented(text string) string {
	if text == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

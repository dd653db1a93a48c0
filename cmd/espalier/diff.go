package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"espalier/cmd/espalier/config"
	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
)

// difference is the command that shows what run would change on this node.
type difference struct {
	flags  *config.Flags
	family string
}

func diffCommand() *cobra.Command {
	d := difference{flags: config.NewFlags()}
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Show what would change in this node's rules",
		Long: `Show what "espalier run" would change in the rules that this node has, chain by chain: lines with "-" would go, lines
with "+" would come. Rules are read, and nothing is touched; reading takes the privileges of iptables-save.

Like "kubectl diff" it ends with status 0 if nothing would change, 1 if something would, and above 1 after an error.`,
		Example: `  # What espalier would make of the rules that kube-proxy has written
  espalier diff --kubeconfig /var/lib/kube-proxy/kubeconfig.conf --cluster-cidr 10.244.0.0/16

  # What a change of a manifest would do
  espalier diff --manifests shop.yaml --cluster-cidr 10.244.0.0/16`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.run(cmd.Context(), cmd.Flags(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	d.flags.AddSource(cmd.Flags())
	d.flags.AddRules(cmd.Flags())
	cmd.Flags().StringVar(&d.family, "ip-family", "ipv4", "Whose rules: ipv4 or ipv6.")
	return cmd
}

func (d *difference) run(ctx context.Context, fs *pflag.FlagSet, stdin io.Reader, stdout, stderr io.Writer) error {
	family, err := ipproto.ParseFamily(d.family)
	if err != nil {
		return &exit{2, fmt.Errorf("--ip-family: %w", err)}
	}
	cfg, err := checked(d.flags, fs, stderr)
	if err != nil {
		return &exit{2, err}
	}
	have, err := ofKernel(ctx, cfg.Backend, family)
	if err != nil {
		return &exit{2, err}
	}
	want, err := planned(ctx, cfg, family, factsOf(have), stdin, stderr)
	if err != nil {
		return &exit{2, err}
	}
	b := delta.Between(have, want).Attach(have, ruleset.Jumps(), nil)
	if b.Empty() {
		return nil
	}
	if err := b.Show(stdout, have, family); err != nil {
		return &exit{2, err}
	}
	return &exit{status: 1}
}

// ofKernel reads the rules that this node has.
func ofKernel(ctx context.Context, wish iptables.Backend, f ipproto.Family) (ruleset.Ruleset, error) {
	backend, _, err := iptables.Detect(ctx, wish)
	if err != nil {
		return nil, err
	}
	k, err := iptables.Open(ctx, f, backend)
	if err != nil {
		return nil, err
	}
	saved, err := k.Save(ctx, ruleset.Filter, ruleset.Nat)
	if err != nil {
		return nil, fmt.Errorf("read the %s rules of this node: %w", f, err)
	}
	return saved.Rules, nil
}

// factsOf takes what only a kernel knows from the rules that it has, as asking it would write to it: what they use it
// can do. Where there are no rules of ours, it is taken to have xt_bpf, and no counters.
func factsOf(have ruleset.Ruleset) kernelFacts {
	facts := kernelFacts{liberal: machine.ConntrackLiberal()}
	counts := func(c ruleset.Chain, acct string) bool {
		return slices.ContainsFunc(have[c], func(r ruleset.Rule) bool { return r.Acct == acct })
	}
	post := ruleset.Chain{Table: ruleset.Nat, Name: ruleset.Postrouting}
	facts.countInvalid = counts(ruleset.Chain{Table: ruleset.Filter, Name: ruleset.Forward}, plan.AcctInvalid)
	facts.countLocalhost = counts(post, plan.AcctLocalhost)
	facts.noHairpinMatch = slices.ContainsFunc(have[post], func(r ruleset.Rule) bool {
		return strings.HasPrefix(r.Jump, ruleset.PrefixEndpoint)
	})
	return facts
}

// exit is a status to end with, and why; without a reason all has been said.
type exit struct {
	status int
	err    error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

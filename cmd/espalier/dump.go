package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"espalier/cmd/espalier/config"
	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/model"
	"espalier/proxier/plan"
	"espalier/proxier/ruleset"
	"espalier/watcher"
	"espalier/watcher/convert"
	"espalier/watcher/file"
	"espalier/watcher/kube"
)

// dump is the command that prints the rules that this node should have.
type dump struct {
	flags  *config.Flags
	family string
	output string
}

func dumpCommand() *cobra.Command {
	d := dump{flags: config.NewFlags()}
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Print the rules that this node should have",
		Long: `Print the rules that "espalier run" would write, as input of iptables-restore. Nothing is touched, and no
privileges are needed.

Loaded with "iptables-restore --noflush" into a network namespace without rules, they make the Services work there.`,
		Example: `  # The rules for the Services of some manifests
  espalier dump --manifests shop.yaml --cluster-cidr 10.244.0.0/16

  # The same for what a cluster holds at the moment
  kubectl get services,endpointslices,nodes -A -o yaml | espalier dump --manifests -

  # How many rules there are, and how deep they are
  espalier dump --manifests shop.yaml -o stats`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.run(cmd.Context(), cmd.Flags(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	d.flags.AddSource(cmd.Flags())
	d.flags.AddRules(cmd.Flags())
	cmd.Flags().StringVar(&d.family, "ip-family", "ipv4", "Whose rules: ipv4 or ipv6.")
	cmd.Flags().StringVarP(&d.output, "output", "o", "restore", "What to print: restore (input of iptables-restore) or stats (sizes).")
	cmd.Flags().Lookup("iptables-backend").Usage = "For which iptables to write: nft (in blocks), legacy (each table at once) or auto (the one of this machine). Both load with either."
	return cmd
}

func (d *dump) run(ctx context.Context, fs *pflag.FlagSet, stdin io.Reader, stdout, stderr io.Writer) error {
	family, err := ipproto.ParseFamily(d.family)
	if err != nil {
		return fmt.Errorf("--ip-family: %w", err)
	}
	if d.output != "restore" && d.output != "stats" {
		return fmt.Errorf("--output: %q is unknown; want restore or stats", d.output)
	}
	cfg, err := checked(d.flags, fs, stderr)
	if err != nil {
		return err
	}
	rules, err := planned(ctx, cfg, family, kernelFacts{liberal: machine.ConntrackLiberal()}, stdin, stderr)
	if err != nil {
		return err
	}
	if d.output == "stats" {
		return printStats(stdout, rules)
	}
	batch := delta.Between(nil, rules).Attach(nil, ruleset.Jumps(), nil)
	if _, err := batch.Encode(stdout, family, dumpStrategy(ctx, cfg.Backend)); err != nil {
		return fmt.Errorf("print %s rules: %w", family, err)
	}
	return nil
}

// checked makes a configuration of the flags, and tells what is odd about them.
func checked(flags *config.Flags, fs *pflag.FlagSet, stderr io.Writer) (config.Config, error) {
	loaded, err := flags.Load(fs)
	if err != nil {
		return config.Config{}, err
	}
	cfg, err := loaded.Check()
	if err != nil {
		return config.Config{}, err
	}
	for _, n := range cfg.Notes {
		fmt.Fprintf(stderr, "note: %s\n", n)
	}
	return cfg, nil
}

// planned takes one look at the source, and returns the rules for it.
func planned(ctx context.Context, cfg config.Config, f ipproto.Family, facts kernelFacts, stdin io.Reader, stderr io.Writer) (ruleset.Ruleset, error) {
	snapshot, err := read(ctx, cfg, f, stdin, stderr)
	if err != nil {
		return nil, err
	}
	node, wish, err := dataPlane{cfg.Rules}.settings(snapshot.Node, f, facts)
	if err != nil {
		return nil, err
	}
	snapshot.Node = node
	rules, problems := plan.Plan(snapshot, wish)
	warn(stderr, problems)
	return rules, nil
}

// read takes one look at the source.
func read(ctx context.Context, cfg config.Config, f ipproto.Family, stdin io.Reader, stderr io.Writer) (model.Snapshot, error) {
	tracker := watcher.New()
	view := tracker.View(f)
	if cfg.Source.Manifests != "" {
		result, err := file.Read(cfg.Source.Manifests, stdin, convert.Options{NodeName: cfg.NodeName})
		if err != nil {
			return model.Snapshot{}, err
		}
		for _, n := range result.Notices {
			fmt.Fprintf(stderr, "note: %s\n", n)
		}
		warn(stderr, result.Problems)
		tracker.Replace(result.State)
		tracker.SetSynced()
	} else {
		if err := list(ctx, cfg, tracker, stderr); err != nil {
			return model.Snapshot{}, err
		}
	}
	snapshot, _, _ := view.Snapshot()
	return snapshot, nil
}

// list reads the cluster of --kubeconfig, or the one that this process runs in.
func list(ctx context.Context, cfg config.Config, tracker *watcher.Tracker, stderr io.Writer) error {
	api, err := clientConfig(cfg.Source)
	if err != nil {
		return err
	}
	return kube.Snapshot(ctx, kube.Config{
		REST: api, NodeName: cfg.NodeName, Tracker: tracker,
		Report: func(_ string, problems []model.Problem) { warn(stderr, problems) },
	})
}

func warn(w io.Writer, problems []model.Problem) {
	for _, p := range problems {
		fmt.Fprintf(w, "warning: %s\n", p)
	}
}

// dumpStrategy returns how to write for a backend. On a machine without iptables, or where it may not be asked,
// the text is written in one piece, which both backends load.
func dumpStrategy(ctx context.Context, backend iptables.Backend) delta.Strategy {
	if backend == iptables.Auto {
		var err error
		if backend, _, err = iptables.Detect(ctx, iptables.Auto); err != nil {
			return delta.Legacy
		}
	}
	return backend.Strategy()
}

func printStats(w io.Writer, rules ruleset.Ruleset) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "TABLE\tRULES\tCHAINS\tLONGEST CHAIN\tDEEPEST PATH")
	for _, s := range ruleset.Measure(rules) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d (%s)\t%d (%s)\n", s.Table, s.Rules, s.Chains, s.LongestRules, s.Longest, len(s.Deepest), s.DeepestPath())
	}
	return t.Flush()
}

// Command espalier programs the Services of a Kubernetes cluster into iptables rules of the node that it runs
// on. Its commands are compositions of the same functions: source → plan → text (dump), source → plan →
// difference → kernel (run), kernel → removal (cleanup).
//
// Called as kube-proxy it is "espalier run", and keeps to the conventions of that program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/component-base/cli"
	"k8s.io/klog/v2"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	p := program{setUp: setUp}
	if filepath.Base(os.Args[0]) == kubeProxy {
		cmd := p.kubeProxyCommand()
		cmd.SetContext(ctx)
		os.Exit(cli.Run(cmd))
	}
	err := p.command().ExecuteContext(ctx)
	klog.Flush()
	if status, text := ending(err); status != 0 {
		fmt.Fprint(os.Stderr, text)
		os.Exit(status)
	}
}

// ending is the status that the process ends with after an error, and what it says.
func ending(err error) (status int, text string) {
	e, ok := errors.AsType[*exit](err)
	switch {
	case err == nil:
		return 0, ""
	case ok && e.err == nil:
		return e.status, ""
	case ok:
		status = e.status
	default:
		status = 1
	}
	return status, fmt.Sprintf("error: %v\n", indent(err))
}

// indent keeps several errors apart.
func indent(err error) string { return strings.ReplaceAll(err.Error(), "\n", "\n       ") }

// command builds the whole command line. Without a subcommand it is run.
func (p program) command() *cobra.Command {
	run := p.runCommand()
	root := &cobra.Command{
		Use:   "espalier",
		Short: "A Service proxy for Kubernetes: iptables rules as trees",
		Long: `Espalier makes the Services of a Kubernetes cluster reachable from one node by iptables rules, in place of
kube-proxy. Its rules are trees of short chains, so that a packet pays for their depth and not for the number of
Services.

Without a command it does what "espalier run" does. Called by the name kube-proxy, it takes kube-proxy's command line.`,
		Example: `  # The rules for the Services of some manifests, without touching anything
  espalier dump --manifests shop.yaml

  # Keep this node's rules in step with a cluster
  espalier run --kubeconfig /var/lib/kube-proxy/kubeconfig.conf --cluster-cidr 10.244.0.0/16`,
		Version:           version,
		Args:              noArguments,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE:              run.RunE,
	}
	root.SetGlobalNormalizationFunc(dashes)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(run)
	for _, cmd := range []*cobra.Command{dumpCommand(), diffCommand(), explainCommand(), cleanupCommand(), benchCommand()} {
		addLogFlags(cmd.Flags())
		root.AddCommand(cmd)
	}
	root.Flags().AddFlagSet(run.Flags())
	return root
}

// addLogFlags adds -v, for commands whose output is not a log.
func addLogFlags(fs *pflag.FlagSet) {
	var klogFlags flag.FlagSet
	klog.InitFlags(&klogFlags)
	v := pflag.PFlagFromGoFlag(klogFlags.Lookup("v"))
	v.Usage = "How much to log: 0 changes of state, 2 each sync, 4 decisions, 6 the input of iptables-restore."
	fs.AddFlag(v)
}

// dashes lets flags be written with underscores, as kube-proxy does.
func dashes(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
}

func flagError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w\nsee %q for the flags", err, cmd.CommandPath()+" --help")
}

// noArguments refuses arguments, except empty ones, which manifests make of unset variables.
func noArguments(cmd *cobra.Command, args []string) error {
	for _, a := range args {
		if a != "" {
			return fmt.Errorf("unknown argument %q\nsee %q for the commands and flags", a, cmd.CommandPath()+" --help")
		}
	}
	return nil
}

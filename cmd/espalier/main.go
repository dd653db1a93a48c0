// Command espalier programs the Services of a Kubernetes cluster into iptables rules of the node that it runs
// on. Its commands are compositions of the same functions: source → plan → text (dump), source → plan →
// difference → kernel (run), kernel → removal (cleanup).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := command().ExecuteContext(ctx)
	klog.Flush()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", indent(err))
		os.Exit(1)
	}
}

// indent keeps several errors apart.
func indent(err error) string { return strings.ReplaceAll(err.Error(), "\n", "\n       ") }

// command builds the whole command line. Without a subcommand it is run.
func command() *cobra.Command {
	run := runCommand()
	root := &cobra.Command{
		Use:   "espalier",
		Short: "A Service proxy for Kubernetes: iptables rules as trees",
		Long: `Espalier makes the Services of a Kubernetes cluster reachable from one node by iptables rules, in place of
kube-proxy. Its rules are trees of short chains, so that a packet pays for their depth and not for the number of
Services.

Without a command it does what "espalier run" does.`,
		Example: `  # The rules for the Services of some manifests, without touching anything
  espalier dump --manifests shop.yaml

  # Keep this node's rules in step with a cluster
  espalier run --kubeconfig /etc/kubernetes/kubelet.conf --cluster-cidr 10.244.0.0/16`,
		Version:           version,
		Args:              noArguments,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE:              run.RunE,
	}
	root.SetGlobalNormalizationFunc(dashes)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(run, dumpCommand(), cleanupCommand(), benchCommand())
	root.Flags().AddFlagSet(run.Flags())
	addLogFlags(root.PersistentFlags())
	return root
}

// addLogFlags adds -v; the other flags of klog are fixed, as everything goes to standard error.
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

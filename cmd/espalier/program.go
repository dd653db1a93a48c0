package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientfeatures "k8s.io/client-go/features"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/featuregate"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
	"k8s.io/klog/v2"

	"espalier/cmd/espalier/config"
)

// kubeProxy is the name under which this program takes kube-proxy's command line.
const kubeProxy = "kube-proxy"

// program is what the commands may touch of this process, so that a test can replace it.
type program struct {
	// setUp is called once, for what is the whole process's: its log, and how client-go behaves.
	setUp func(*logsapi.LoggingConfiguration, featuregate.FeatureGate) error
}

func setUp(c *logsapi.LoggingConfiguration, gates featuregate.FeatureGate) error {
	clientfeatures.ReplaceFeatureGates(clientGates{gates})
	logs.InitLogs() // what others write with package log goes to the log, too
	return logsapi.ValidateAndApply(c, gates)
}

func (p program) runCommand() *cobra.Command {
	flags := config.NewFlags()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep this node's rules in step with a cluster or with files",
		Long: `Keep the iptables rules of this node in step with the Services of a cluster, or of YAML files that are watched.

Rules of kube-proxy's iptables mode are replaced in place. SIGTERM ends the process and leaves the rules: traffic
goes on, and the next process finds them and changes only what differs. "espalier cleanup" removes them.

The flags, and the file of --config, are those of kube-proxy. All of its flags are accepted.`,
		Example: `  # Serve a cluster, as kube-proxy does
  espalier run --kubeconfig /var/lib/kube-proxy/kubeconfig.conf --cluster-cidr 10.244.0.0/16

  # The same with kube-proxy's configuration file
  espalier run --config /var/lib/kube-proxy/config.conf --hostname-override "$NODE_NAME"

  # Serve the Services of a directory of manifests, and follow its changes
  espalier run --manifests /etc/espalier/manifests`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.perform(cmd.Context(), flags, cmd.Flags(), cmd.OutOrStdout())
		},
	}
	flags.Add(cmd.Flags())
	return cmd
}

// kubeProxyCommand is run, as kube-proxy: wrong flags are answered with the usage, and --version says which Kubernetes
// this is.
func (p program) kubeProxyCommand() *cobra.Command {
	flags := config.NewFlags()
	var asked versionFlag
	cmd := &cobra.Command{
		Use: kubeProxy,
		Long: `Espalier, in place of kube-proxy: it makes the Services of a Kubernetes cluster reachable from this node by iptables
rules. It accepts all flags and the configuration file of kube-proxy ` + config.KubernetesVersion + `.`,
		Args: func(cmd *cobra.Command, args []string) error {
			for _, a := range args {
				if a != "" {
					return fmt.Errorf("%q takes no arguments, but got %q", cmd.CommandPath(), args)
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked.print {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), asked.text())
				return err
			}
			return p.perform(cmd.Context(), flags, cmd.Flags(), cmd.OutOrStdout())
		},
	}
	flags.Add(cmd.Flags())
	asked.add(cmd.Flags())
	return cmd
}

// perform does what the flags ask for. Where it gives up says what kind of mistake it was.
func (p program) perform(ctx context.Context, flags *config.Flags, fs *pflag.FlagSet, stdout io.Writer) error {
	loaded, err := flags.Load(fs)
	if err != nil {
		return fmt.Errorf("load the configuration: %w", err)
	}
	if err := p.setUp(loaded.Logging(), loaded.Gates()); err != nil {
		return fmt.Errorf("set up logging: %w", err)
	}
	cliflag.PrintFlags(fs)
	cfg, err := loaded.Check()
	if err != nil {
		return fmt.Errorf("check the configuration: %w", err)
	}
	for _, n := range cfg.Notes {
		klog.Warning(n)
	}
	switch cfg.Task {
	case config.WriteConfig:
		return writeConfig(cfg)
	case config.Cleanup:
		return cleanup(ctx, stdout)
	case config.InitOnly:
		return prepare(cfg)
	}
	return (&run{Config: cfg, data: dataPlane{cfg.Rules}}).run(ctx, fs)
}

// writeConfig writes the resolved configuration, as a KubeProxyConfiguration.
func writeConfig(cfg config.Config) error {
	text, err := config.Encode(cfg.Kube)
	if err != nil {
		return err
	}
	if err := os.WriteFile(cfg.WriteTo, text, 0o666); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	klog.InfoS("Wrote configuration", "file", cfg.WriteTo)
	return nil
}

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"espalier/proxier/iptables"
)

func cleanupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every rule that espalier or kube-proxy's iptables mode left on this node",
		Long: `Remove the rules and chains that espalier, or kube-proxy in iptables mode, left on this node: in both backends of
iptables and for both IP families. Services stop working on this node.

Rules of others stay, and so does the chain KUBE-FIREWALL, which the kubelet relies on.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cleanup(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

func cleanup(ctx context.Context, stdout io.Writer) error {
	cleaned, err := iptables.Cleanup(ctx)
	fmt.Fprintln(stdout, iptables.Summary(cleaned))
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"espalier/proxier/iptables"
	"espalier/proxier/ipvsmode"
)

func cleanupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Remove every rule that espalier or kube-proxy left on this node",
		Long: `Remove the rules and chains that espalier, or kube-proxy in iptables mode, left on this node: in both backends of
iptables and for both IP families; the tables of kube-proxy's nftables mode; and the chains, IP sets, virtual servers and
the device of its ipvs mode. Services stop working on this node.

Rules of others stay, and so does the chain KUBE-FIREWALL, which the kubelet relies on.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cleanup(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

func cleanup(ctx context.Context, stdout io.Writer) error {
	cleaned, err := iptables.Cleanup(ctx)
	fmt.Fprint(stdout, iptables.Summary(cleaned))
	tables, errTables := iptables.RemoveNFTablesMode(ctx)
	for _, t := range tables {
		fmt.Fprintf(stdout, "nftables: removed table %s\n", t)
	}
	left, errIPVS := ipvsmode.Remove() // after the rules that ask its sets
	for _, l := range left {
		fmt.Fprintf(stdout, "ipvs: removed %s\n", l)
	}
	return errors.Join(err, errTables, errIPVS)
}

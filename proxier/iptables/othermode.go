package iptables

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
)

// RemoveNFTablesMode deletes what kube-proxy's nftables mode keeps: one table called kube-proxy for each IP family
// (kubernetes: pkg/proxy/nftables/proxier.go). It returns what was there, like "ip6 kube-proxy". Without
// nft there is nothing: kube-proxy could not have made it.
//
// Packets meet both proxies as long as both have rules, and which of them comes first nobody knows.
func RemoveNFTablesMode(ctx context.Context) (removed []string, err error) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		return nil, nil
	}
	var errs []error
	for _, family := range []string{"ip", "ip6"} {
		// Not "list tables" first: of iptables' tables nft reads every rule then, for 0.7 s and 140 MB at 40,000 rules.
		err := read(ctx, nft, []string{"delete", "table", family, "kube-proxy"}, func(io.Reader) error { return nil })
		switch e, failed := errors.AsType[*CommandError](err); {
		case err == nil:
			removed = append(removed, family+" kube-proxy")
		case !failed || !noSuchTable(e.Stderr):
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}

// noSuchTable reports whether nft says that what it should delete is not there, or that the kernel has no tables at all.
func noSuchTable(stderr string) bool {
	for _, text := range []string{"No such file or directory", "Operation not supported", "Protocol not supported"} {
		if strings.Contains(stderr, text) {
			return true
		}
	}
	return false
}

package iptables

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
)

// RemoveNFTablesMode deletes what kube-proxy's nftables mode keeps: one table called kube-proxy for each IP family
// (kubernetes: pkg/proxy/nftables/proxier.go). It returns what was there, like "ip6 kube-proxy". Where
// nft is not there, or finds that the kernel knows no tables, there is nothing: kube-proxy could not have made it.
//
// Packets meet both proxies as long as both have rules, and which of them comes first nobody knows.
func RemoveNFTablesMode(ctx context.Context) (removed []string, err error) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		return nil, nil
	}
	var list []byte
	err = read(ctx, nft, []string{"list", "tables"}, func(r io.Reader) (err error) {
		list, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return nil, nil
	}
	var errs []error
	for line := range strings.Lines(string(list)) {
		words := strings.Fields(line) // table ip6 kube-proxy
		if len(words) != 3 || words[0] != "table" || words[1] != "ip" && words[1] != "ip6" || words[2] != "kube-proxy" {
			continue
		}
		if err := read(ctx, nft, append([]string{"delete"}, words...), func(io.Reader) error { return nil }); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, words[1]+" "+words[2])
	}
	return removed, errors.Join(errs...)
}

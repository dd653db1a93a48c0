// Record lets kube-proxy write its rules on a node made of a network namespace, and keeps what iptables-save prints then:
// see package recorded. It needs root, and the program bzip2.
//
//	go build -C test/e2e -o /tmp/kube-proxy k8s.io/kubernetes/cmd/kube-proxy
//	go run ./test/recorded/record --kube-proxy /tmp/kube-proxy
//
// Each cluster is recorded with the legacy backend, and with nf_tables too, which must give the same. With that and
// 10,000 Services kube-proxy is busy for a quarter of an hour; --legacy-only leaves it out.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"espalier/proxier/ipproto"
	"espalier/test/recorded"
)

func main() {
	program := pflag.String("kube-proxy", "", "the program whose rules to record")
	sizes := pflag.IntSlice("sizes", recorded.Sizes(), "of the clusters to record, in Services")
	legacy := pflag.Bool("legacy-only", false, "leave nf_tables out")
	dir := pflag.String("dir", "test/recorded", "the directory of the package to write to")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	backends := []string{"legacy", "nft"}
	if *legacy {
		backends = backends[:1]
	}
	var err error
	for _, size := range *sizes {
		if err == nil {
			err = record(ctx, *program, *dir, size, backends)
		}
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

// record records a cluster with each backend, and keeps the rules if they are the same.
func record(ctx context.Context, program, dir string, size int, backends []string) error {
	var first map[ipproto.Family]recorded.Rules
	for _, backend := range backends {
		rules, err := left(ctx, program, backend, size)
		if err != nil {
			return fmt.Errorf("%d Services, %s: %w", size, backend, err)
		}
		if first == nil {
			first = rules
		}
		for _, f := range ipproto.Families {
			if rules[f] != first[f] {
				return fmt.Errorf("%d Services, %s: the rules are not the same with %s and %s", size, f, backends[0], backend)
			}
		}
	}
	for _, f := range ipproto.Families {
		text, err := first[f].Kept(size, f)
		if err != nil {
			return err
		}
		zip := exec.CommandContext(ctx, "bzip2", "--best") // the standard library can only read it
		zip.Stdin = strings.NewReader(text)
		zipped, err := zip.Output()
		if err != nil {
			return fmt.Errorf("compress with bzip2: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, recorded.Path(size, f)), zipped, 0o644); err != nil {
			return err
		}
		fmt.Printf("%d Services, %s: %d rules, %d bytes, kept in %d\n", size, f, strings.Count(string(first[f]), "\n-A "), len(first[f]), len(zipped))
	}
	return nil
}

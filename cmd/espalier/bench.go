package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"espalier/test/bench"
	"espalier/test/bench/report"
	"espalier/test/netns/lab"
)

// benchmark is the command that measures proxies.
type benchmark struct {
	services, endpoints      []int
	quick                    bool
	backends                 []string
	peers                    []string
	churn                    float64
	duration                 time.Duration
	patience, repairPatience time.Duration
	output, json, html, svg  string
	logs                     string
}

func benchCommand() *cobra.Command {
	var b benchmark
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast large clusters, and changes of them, reach the packets",
		Long: `Measure this program, and others beside it, on synthetic clusters: how long it takes until the Services of a cluster
answer, until a connection goes where a change says, what that costs, and whether connections are lost.

Everything happens in network namespaces that are made for it and vanish with it; the rules of this machine are not
touched. It needs root. Each proxy is a process of its own that reads the cluster from an API server; what it
does is seen by connections through the kernel, not by what it says about itself.

--peer measures another proxy in the same way. These words of its command line are replaced:
  ` + strings.Join(bench.Placeholders(), "\n  "),
		Example: `  # The smallest size, in about two minutes
  espalier bench --quick

  # One size, with a page to show around
  espalier bench --services 10000 --endpoints 3 --html bench.html

  # Beside kube-proxy, in two of its modes
  espalier bench --services 5000 --endpoints 50 \
    --peer 'kube-proxy --kubeconfig {kubeconfig} --hostname-override {node} --cluster-cidr {cluster-cidr} --conntrack-max-per-core 0' \
    --peer 'nftables=kube-proxy --proxy-mode nftables --kubeconfig {kubeconfig} --hostname-override {node} --cluster-cidr {cluster-cidr} --conntrack-max-per-core 0'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	b.addFlags(cmd.Flags())
	return cmd
}

func (b *benchmark) addFlags(fs *pflag.FlagSet) {
	fs.IntSliceVar(&b.services, "services", nil,
		"How many Services; several numbers are measured one after the other. Default: 1000, 10000, 5000, 30000 and 100000.")
	fs.IntSliceVar(&b.endpoints, "endpoints", nil,
		"How many endpoints each Service has: one number for all, or one for each of --services. Default: 3, for the default sizes 3, 3, 50, 5 and 1.")
	fs.BoolVar(&b.quick, "quick", false,
		"Only 1000 Services with 3 endpoints, and shorter stages.")
	fs.StringSliceVar(&b.backends, "iptables-backend", nil,
		"The backends to measure: nft, legacy or both. Default: those that are installed.")
	fs.StringArrayVar(&b.peers, "peer", nil,
		"The command line of another proxy to measure, as [NAME=]PROGRAM ARGUMENT..., separated by blanks. Can be repeated.")
	fs.Float64Var(&b.churn, "churn", 20,
		"How many other Services change in a second, in the stage with churn. 0: leave the stage out.")
	fs.DurationVar(&b.duration, "duration", 20*time.Second,
		"How long endpoints are changed, idle and with churn.")
	fs.DurationVar(&b.patience, "timeout", 2*time.Minute,
		"How long to wait for anything: the cold start, a change. What takes longer is reported as such.")
	fs.DurationVar(&b.repairPatience, "repair-timeout", 35*time.Second,
		"How long to wait for the repair of a flushed table.")
	fs.StringVarP(&b.output, "output", "o", "table",
		"What to print: table or json.")
	fs.StringVar(&b.json, "json", "",
		"Write the results, samples included, to this file.")
	fs.StringVar(&b.html, "html", "",
		"Write a page with tables and plots to this file.")
	fs.StringVar(&b.svg, "svg", "",
		"Write the plots of that page to this file, as an image.")
	fs.StringVar(&b.logs, "logs", "",
		"Keep the logs of the proxies in this directory.")
}

// sizes pairs the flags.
func (b *benchmark) sizes() ([]report.Size, error) {
	switch {
	case b.quick && (len(b.services) > 0 || len(b.endpoints) > 0):
		return nil, errors.New("--quick and --services or --endpoints exclude each other")
	case b.quick:
		return bench.DefaultSizes()[:1], nil
	case len(b.services) == 0 && len(b.endpoints) == 0:
		return bench.DefaultSizes(), nil
	case len(b.services) == 0:
		return nil, errors.New("--endpoints: give --services too")
	}
	endpoints := b.endpoints
	if len(endpoints) == 0 {
		endpoints = []int{3}
	}
	if len(endpoints) != 1 && len(endpoints) != len(b.services) {
		return nil, fmt.Errorf("--endpoints: %d numbers for %d of --services; give one, or as many", len(endpoints), len(b.services))
	}
	var sizes []report.Size
	for i, n := range b.services {
		sizes = append(sizes, report.Size{Services: n, Endpoints: endpoints[min(i, len(endpoints)-1)]})
	}
	return sizes, nil
}

// config checks the flags and makes of them what they mean.
func (b *benchmark) config() (bench.Config, error) {
	c := bench.Config{
		Backends: b.backends, Churn: b.churn, Duration: b.duration, Pause: 1500 * time.Millisecond, Patience: b.patience, RepairPatience: b.repairPatience,
		LogDir:  b.logs,
		Command: strings.Join(os.Args, " "), Version: version,
	}
	if b.quick {
		c.Duration = min(c.Duration, 10*time.Second)
	}
	if len(c.Backends) == 0 {
		c.Backends = bench.Backends()
	}
	var errs []error
	var err error
	if c.Sizes, err = b.sizes(); err != nil {
		errs = append(errs, err)
	}
	self, err := os.Executable()
	if err != nil {
		errs = append(errs, fmt.Errorf("find this program: %w", err))
	}
	c.Proxies = append(c.Proxies, bench.Espalier(self))
	for _, text := range b.peers {
		p, err := bench.ParsePeer(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--peer: %w", err))
		}
		c.Proxies = append(c.Proxies, p)
	}
	if b.output != "table" && b.output != "json" {
		errs = append(errs, fmt.Errorf("--output: %q is not table or json", b.output))
	}
	if len(errs) == 0 {
		errs = append(errs, c.Check())
	}
	return c, errors.Join(errs...)
}

func (b *benchmark) run(ctx context.Context, stdout, stderr io.Writer) error {
	c, err := b.config()
	if err != nil {
		return err
	}
	if err := lab.Usable(); err != nil {
		return fmt.Errorf("make network namespaces: %w", err)
	}
	if err := errors.Join(writable(b.json), writable(b.html), writable(b.svg), makeDirectory(b.logs)); err != nil {
		return err // now, and not when the work is done
	}
	// The cluster stays in memory for the whole time. Looking through it less often leaves more of the machine to
	// what is measured.
	debug.SetGCPercent(400)
	var failed error
	c.Done = func(r report.Report) { failed = b.keep(r) } // a sweep takes long, and may not come to its end
	results, err := bench.Sweep(ctx, c, &bench.Progress{Out: stderr, Terminal: isTerminal(stderr)})
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if len(results.Runs) > 0 {
		err = errors.Join(err, failed, b.print(results, stdout))
	}
	return err
}

// keep writes the results to the files that are wanted.
func (b *benchmark) keep(r report.Report) error {
	return errors.Join(writeFile(b.json, r.WriteJSON), writeFile(b.html, r.WriteHTML), writeFile(b.svg, r.WriteSVG))
}

func (b *benchmark) print(r report.Report, stdout io.Writer) error {
	if b.output == "json" {
		return r.WriteJSON(stdout)
	}
	return r.WriteTable(stdout)
}

// writeFile writes a file, if it has a name.
func writeFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// writable opens a file for writing, if it has a name, and leaves it as it is.
func writable(name string) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// makeDirectory makes a directory, if it has a name and is not there.
func makeDirectory(name string) error {
	if name == "" {
		return nil
	}
	return os.MkdirAll(name, 0o755)
}

// isTerminal reports whether somebody may be looking.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Command demo runs a small web shop on a node made of network namespaces and shows espalier serving it:
// three Deployments and three Services, whose requests cross a real kernel.
//
// It plays the parts of Kubernetes that espalier relies on, in the smallest form that tells the truth: the
// Deployment controller and kubelet (pods come, become ready, terminate, go), and the EndpointSlice
// controller (each of these steps is written to a file next to the manifests). espalier itself runs as a
// user would run it, as a separate process that reads those files.
//
// The one rule to respect: everything that it makes lives in namespaces, and a namespace lives exactly as
// long as the process in it. Whatever ends the demo, nothing stays behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/pflag"
)

// config is what the command line can change.
type config struct {
	espalier string // path of the binary to show
	backend  string // its --iptables-backend
}

func main() {
	// Children die with the thread that started them (PR_SET_PDEATHSIG), so all are started by this
	// goroutine, and it keeps the main thread.
	runtime.LockOSThread()
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		exit(os.Args[1], roles[os.Args[1]](os.Args[2:]))
	}
	var cfg config
	pflag.StringVar(&cfg.espalier, "espalier", "bin/espalier", "the espalier binary to show")
	pflag.StringVar(&cfg.backend, "backend", "auto", "iptables backend: auto, nft or legacy")
	pflag.Parse()

	// All that ends a command on a terminal, a closed terminal and a closed pipe too, ends it in order.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	exit("demo", run(ctx, cfg, newScreen(os.Stdout)))
}

// roles are the parts that this binary plays when it starts itself again.
var roles = map[string]func(args []string) error{
	"machine": machineRole,
	"pod":     podRole,
	"ask":     askRole,
}

// run shows everything once and cleans up, whatever happens. An interrupted demo is an error too.
func run(ctx context.Context, cfg config, out *screen) error {
	if err := cfg.check(); err != nil {
		return err
	}
	s, err := newShow(cfg, out)
	if err != nil {
		return err
	}
	played := s.play(ctx)
	if played != nil && ctx.Err() == nil {
		s.explain()
	}
	if ctx.Err() != nil {
		played = errors.New("interrupted")
	}
	return errors.Join(played, s.close())
}

func (c config) check() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it with sudo, or as \"make demo\"")
	}
	if _, err := os.Stat(c.espalier); err != nil {
		return fmt.Errorf("find the binary to show: %w; \"make build\" makes it", err)
	}
	switch c.backend {
	case "auto", "nft", "legacy":
		return nil
	}
	return fmt.Errorf("--backend %q: want auto, nft or legacy", c.backend)
}

func exit(who string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", who, err)
		os.Exit(1)
	}
	os.Exit(0)
}

package bench

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"espalier/test/bench/bed"
	"espalier/test/bench/feed"
	"espalier/test/bench/report"
)

// Sweep measures everything that the Config asks for. When ctx ends, it returns what it has, and the reason.
func Sweep(ctx context.Context, c Config, say *Progress) (report.Report, error) {
	r := report.Report{Made: time.Now().UTC(), Command: c.Command, Machine: machine(c), Churn: c.Churn, Duration: c.Duration}
	for _, size := range c.Sizes {
		say.Begin("%s: making the cluster", size)
		cluster := feed.New(clusterSize(size))
		say.End("%s: %d Services to connect to", size, len(cluster.Targets))
		for _, backend := range c.Backends {
			for _, p := range c.Proxies {
				run, err := measure(ctx, c, cluster, size, backend, p, say)
				switch {
				case ctx.Err() != nil:
					run.Broken = "interrupted"
				case err != nil:
					run.Broken = err.Error()
					say.End("%s: %v", p.Name, err)
				}
				r.Runs = append(r.Runs, run)
				if c.Done != nil {
					c.Done(r)
				}
				if ctx.Err() != nil {
					return r, ctx.Err()
				}
				cluster.Reset()
			}
		}
	}
	return r, nil
}

// measure makes one run, on a node of its own.
func measure(ctx context.Context, c Config, cluster *feed.Cluster, size report.Size, backend string, p Proxy, say *Progress) (report.Run, error) {
	result := report.Run{Size: size, Backend: backend, Proxy: p.Name}
	log := ""
	if c.LogDir != "" {
		log = filepath.Join(c.LogDir, fmt.Sprintf("%dx%d-%s-%s", size.Services, size.Endpoints, backend, p.Name))
	}
	b, err := bed.New(bed.Config{
		NodeIP:    cluster.NodeIP,
		Services:  netip.MustParsePrefix(feed.ServiceCIDR),
		Endpoints: []netip.Prefix{netip.MustParsePrefix(feed.PodCIDR), netip.MustParsePrefix(feed.NodeCIDR)},
		Client:    netip.MustParseAddr("10.255.255.2"),
		Ports:     []uint16{feed.Port, 6443, 53, 9153},
		Backend:   backend,
		Log:       log,
	})
	if err != nil {
		return result, err
	}
	defer b.Close()
	defer cluster.Disconnect()
	kubeconfig, err := b.ServeAPI(cluster.Handler())
	if err != nil {
		return result, err
	}
	r := &run{
		Config: c, bed: b, cluster: cluster, argv: p.command(kubeconfig, backend),
		say: say, title: fmt.Sprintf("%s %s %s", size, backend, p.Name), result: &result,
	}
	defer r.stop()
	return result, r.stages(ctx)
}

package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"espalier/test/netns/lab"
)

// HTTP returns a client whose connections begin in a network namespace, each request on a new one.
func HTTP(ns *lab.Namespace, timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
				err = ns.Go(func() error {
					conn, err = new(net.Dialer).DialContext(ctx, network, addr)
					return err
				})
				return conn, err
			},
		},
	}
}

// HTTP returns a client whose connections begin on the node.
func (n *Node) HTTP(timeout time.Duration) *http.Client { return HTTP(n.Namespace, timeout) }

// page returns what is at a URL, for a client.
func page(ctx context.Context, client *http.Client, url string) (string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	r, err := client.Do(q)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, r.Status, body)
	}
	return string(body), err
}

// Metric returns the sum of a metric's series that have a text in their labels.
func (p *Proxy) Metric(ctx context.Context, name, label string) (sum float64, err error) {
	text, err := page(ctx, p.node.HTTP(5*time.Second), "http://127.0.0.1:10249/metrics")
	if err != nil {
		return 0, fmt.Errorf("read the metrics of %s: %w", p.node.Name, err)
	}
	found := false
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if bare, _, _ := strings.Cut(series, "{"); bare != name || !strings.Contains(series, label) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("read the metric %s: %w", series, err)
		}
		sum, found = sum+n, true
	}
	if !found {
		return 0, fmt.Errorf("%s has no metric %s with %q", p.node.Name, name, label)
	}
	return sum, nil
}

// AwaitSync waits until the process that runs has had its rules in the kernel, of both families.
func (p *Proxy) AwaitSync(ctx context.Context) error {
	err := Until(ctx, "the proxy of "+p.node.Name+" has written rules", func(ctx context.Context) error {
		for _, family := range []string{"IPv4", "IPv6"} {
			last, err := p.Metric(ctx, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", family)
			if err != nil {
				return err
			}
			if last == 0 {
				return fmt.Errorf("it has none of %s", family)
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("%w; its log ends with\n%s", err, p.Log.Tail(20))
	}
	return err
}

// AwaitProbe waits until a path of the probes' port answers 200.
func (p *Proxy) AwaitProbe(ctx context.Context, path string) error {
	return Until(ctx, p.node.Name+" answers "+path, func(ctx context.Context) error {
		_, err := page(ctx, p.node.HTTP(5*time.Second), "http://127.0.0.1:10256"+path)
		return err
	})
}

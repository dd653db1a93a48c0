package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probe asks a container whether it is ready, until ctx ends, and tells the worker when the answer changes.
func (w *worker) probe(ctx context.Context, c *container, id int, p *corev1.Probe) {
	period, timeout := time.Duration(max(p.PeriodSeconds, 1))*time.Second, time.Duration(max(p.TimeoutSeconds, 1))*time.Second
	pause(ctx, time.Duration(p.InitialDelaySeconds)*time.Second)
	ready, good, bad := false, int32(0), int32(0)
	for ctx.Err() == nil {
		err := w.probeOnce(ctx, &c.spec, p, timeout)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		switch {
		case !ready && good >= max(p.SuccessThreshold, 1):
			ready = true
			w.send(event{c, id, saidReady})
		case ready && bad >= max(p.FailureThreshold, 1):
			ready = false
			w.agent.config.Log("%s: pod %s: container %s is not ready: %v", w.agent.name(), w.key, c.spec.Name, err)
			w.send(event{c, id, unready})
		}
		pause(ctx, period)
	}
}

// probeOnce asks once, from the node, as the kubelet does.
func (w *worker) probeOnce(ctx context.Context, c *corev1.Container, p *corev1.Probe, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	host := w.probed
	switch {
	case p.TCPSocket != nil:
		port, err := probePort(c, p.TCPSocket.Port)
		if err != nil {
			return err
		}
		if p.TCPSocket.Host != "" {
			host = p.TCPSocket.Host
		}
		conn, err := w.agent.config.Node.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil {
			return err
		}
		return conn.Close()
	case p.HTTPGet != nil:
		port, err := probePort(c, p.HTTPGet.Port)
		if err != nil {
			return err
		}
		if p.HTTPGet.Host != "" {
			host = p.HTTPGet.Host
		}
		return w.get(ctx, "http://"+net.JoinHostPort(host, port)+p.HTTPGet.Path)
	}
	return fmt.Errorf("container %s: only httpGet and tcpSocket are known here", c.Name)
}

func (w *worker) get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: w.agent.config.Node.DialContext}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

func probePort(c *corev1.Container, p intstr.IntOrString) (string, error) {
	if p.Type == intstr.Int {
		return strconv.Itoa(p.IntValue()), nil
	}
	for _, port := range c.Ports {
		if port.Name == p.StrVal {
			return strconv.Itoa(int(port.ContainerPort)), nil
		}
	}
	return "", fmt.Errorf("container %s has no port %s", c.Name, p.StrVal)
}

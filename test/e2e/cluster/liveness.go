package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"

	"espalier/test/e2e/process"
)

// watchOver asks the livenessProbe as the kubelet does, and kills the container after too many failures.
func (p *Proxy) watchOver(ctx context.Context, c corev1.Container, running *process.Process) {
	probe := c.LivenessProbe
	if probe == nil || probe.HTTPGet == nil {
		return
	}
	number, err := port(c, &probe.HTTPGet.Port)
	if err != nil {
		fmt.Fprintf(&p.Log, "e2e: %v\n", err)
		return
	}
	url := fmt.Sprintf("http://127.0.0.1:%s%s", number, probe.HTTPGet.Path)
	client := p.node.HTTP(time.Duration(max(1, probe.TimeoutSeconds)) * time.Second)
	ticks := time.NewTicker(time.Duration(max(1, probe.PeriodSeconds)) * time.Second)
	defer ticks.Stop()
	for failures := 0; failures < int(max(1, probe.FailureThreshold)); {
		select {
		case <-ticks.C:
		case <-running.Ended():
			return
		case <-ctx.Done():
			return
		}
		if status, err := get(ctx, client, url); err != nil || status >= 400 {
			failures++
			fmt.Fprintf(&p.Log, "e2e: livenessProbe: status %d, error %v\n", status, err)
		} else {
			failures = 0
		}
	}
	fmt.Fprintf(&p.Log, "e2e: the livenessProbe has failed too often: the container is killed\n")
	running.Kill()
}

func get(ctx context.Context, client *http.Client, url string) (status int, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	r, err := client.Do(q)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return r.StatusCode, err
}

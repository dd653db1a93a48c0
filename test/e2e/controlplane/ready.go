package controlplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// between two questions whether something is ready.
const between = 50 * time.Millisecond

// awaitReady asks a component until it says that it is ready.
func (p *Plane) awaitReady(ctx context.Context, c component) error {
	running := p.running[c]
	for {
		if p.isReady(ctx, c) {
			return nil
		}
		select {
		case <-running.Ended():
			return fmt.Errorf("start %s: it has ended: %w", c, running.Err())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", c, context.Cause(ctx))
		case <-time.After(between):
		}
	}
}

// probes asks servers on this host whose certificates nobody knows.
var probes = &http.Client{
	Timeout:   5 * time.Second,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
}

func (p *Plane) isReady(ctx context.Context, c component) bool {
	switch c {
	case apiServer:
		return p.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil
	case etcd:
		return answers(ctx, etcdClients+"/readyz")
	case controller:
		return answers(ctx, "https://127.0.0.1:10257/healthz")
	default:
		return answers(ctx, "https://127.0.0.1:10259/readyz")
	}
}

func answers(ctx context.Context, url string) bool {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	r, err := probes.Do(q)
	if err != nil {
		return false
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode == http.StatusOK
}

// awaitDefaults waits for what every cluster has: the Service default/kubernetes, and the namespace's ServiceAccount,
// which pods need.
func (p *Plane) awaitDefaults(ctx context.Context) error {
	for {
		_, err := p.Client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		if err == nil {
			_, err = p.Client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		}
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("look for what every cluster has: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for what every cluster has (%w): %w", err, context.Cause(ctx))
		case <-time.After(between):
		}
	}
}

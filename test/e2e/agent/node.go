package agent

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/retry"
)

// Register makes the Node, or brings the status of one that is there up to date. Labels that others have put on it stay.
// A Node that somebody deletes is not made again until this is called, as the kubelet registers at its start only.
func (a *Agent) Register(ctx context.Context) error {
	nodes := a.config.Client.CoreV1().Nodes()
	if _, err := nodes.Create(ctx, a.node(), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("register node %s: %w", a.name(), err)
	}
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		node, err := nodes.Get(ctx, a.name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Status = a.node().Status
		_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("report the status of node %s: %w", a.name(), err)
	}
	a.config.Log("%s: registered with addresses %v", a.name(), a.config.Node.Addrs)
	return nil
}

// register registers the Node as soon as the API server is there.
func (a *Agent) register(ctx context.Context) error {
	for {
		err := a.Register(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.config.Log("%v", err)
		pause(ctx, retryAfter)
	}
}

// node is what the agent knows of its Node.
func (a *Agent) node() *corev1.Node {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("8"),
		corev1.ResourceMemory: resource.MustParse("16Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	now := metav1.Now()
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.name(), Labels: map[string]string{
			corev1.LabelHostname: a.name(), corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}},
		Status: corev1.NodeStatus{
			Capacity: resources, Allocatable: resources,
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: a.name()}},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "AgentReady",
				Message: "the agent of this node runs", LastHeartbeatTime: now, LastTransitionTime: now,
			}},
		},
	}
	if a.config.Zone != "" {
		n.Labels[corev1.LabelTopologyZone] = a.config.Zone
	}
	for _, addr := range a.config.Node.Addrs {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
	}
	return n
}

// connect waits until the controller manager has given the Node its pod ranges, and connects the node with them.
func (a *Agent) connect(ctx context.Context) error {
	for {
		cidrs, err := a.awaitPodCIDRs(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			a.config.Log("%s: %v", a.name(), err)
			pause(ctx, retryAfter)
			continue
		}
		a.config.Log("%s: pod ranges %v", a.name(), cidrs)
		return a.config.Node.SetPodCIDRs(cidrs)
	}
}

func (a *Agent) awaitPodCIDRs(ctx context.Context) ([]netip.Prefix, error) {
	nodes := a.config.Client.CoreV1().Nodes()
	only := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", a.name()).String()}
	changes, err := nodes.Watch(ctx, only) // before it is read, so that nothing falls in between
	if err != nil {
		return nil, fmt.Errorf("watch node %s: %w", a.name(), err)
	}
	defer changes.Stop()
	node, err := nodes.Get(ctx, a.name(), metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read node %s: %w", a.name(), err)
	}
	for len(node.Spec.PodCIDRs) == 0 {
		select {
		case e, ok := <-changes.ResultChan():
			if !ok {
				return nil, fmt.Errorf("watch node %s: the API server ended it", a.name())
			}
			if n, ok := e.Object.(*corev1.Node); ok && e.Type != watch.Deleted && n.Name == a.name() {
				node = n
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return podCIDRs(node)
}

func podCIDRs(n *corev1.Node) (cidrs []netip.Prefix, err error) {
	for _, text := range n.Spec.PodCIDRs {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("read spec.podCIDRs of node %s: %w", n.Name, err)
		}
		cidrs = append(cidrs, p)
	}
	return cidrs, nil
}

// How the Node is kept alive, as the kubelet does it.
const (
	leaseNamespace = "kube-node-lease"
	leaseDuration  = 40 * time.Second
	leaseRenewal   = leaseDuration / 4
	retryAfter     = time.Second // when the API server does not take something
)

// renewLease tells the controller manager that the node is alive, until ctx ends.
func (a *Agent) renewLease(ctx context.Context) {
	for ctx.Err() == nil {
		wait := leaseRenewal
		if err := a.renewOnce(ctx); err != nil {
			wait = retryAfter
			a.config.Log("%s: renew the lease: %v", a.name(), err)
		}
		pause(ctx, wait)
	}
}

func (a *Agent) renewOnce(ctx context.Context) error {
	leases := a.config.Client.CoordinationV1().Leases(leaseNamespace)
	lease, err := leases.Get(ctx, a.name(), metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if missing {
		lease, err = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: a.name(), Namespace: leaseNamespace}}, nil
	}
	if err != nil {
		return err
	}
	lease.Spec = coordinationv1.LeaseSpec{
		HolderIdentity: new(a.name()), LeaseDurationSeconds: new(int32(leaseDuration.Seconds())), RenewTime: new(metav1.NowMicro()),
	}
	if missing {
		_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
	} else {
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	return err
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

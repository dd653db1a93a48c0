package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startAgents registers the nodes, and waits for their pod ranges.
func (c *Cluster) startAgents(ctx context.Context) error {
	c.Config.Say("registering nodes")
	for i, n := range c.Nodes {
		object := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
				corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux", corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i+1),
			}},
			Status: corev1.NodeStatus{
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), Reason: "StandIn"}},
				Capacity:   corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("110")},
			},
		}
		for _, a := range n.Addrs {
			object.Status.Addresses = append(object.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
		}
		if _, err := c.Client.CoreV1().Nodes().Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		for {
			object, err := c.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			var cidrs []netip.Prefix
			for _, cidr := range object.Spec.PodCIDRs {
				cidrs = append(cidrs, netip.MustParsePrefix(cidr))
			}
			if len(cidrs) > 0 {
				if err := n.SetPodCIDRs(cidrs); err != nil {
					return err
				}
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

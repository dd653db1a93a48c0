package main

import (
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// publishNode writes the Node object.
func (c *cluster) publishNode() error {
	return c.write("node.yaml", &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name:   nodeName,
			Labels: map[string]string{corev1.LabelHostname: nodeName},
		},
		Spec: corev1.NodeSpec{PodCIDR: podRange.String(), PodCIDRs: []string{podRange.String()}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: nodeAddr.Addr().String()},
			{Type: corev1.NodeHostName, Address: nodeName},
		}},
	})
}

// publish writes the EndpointSlice of an app's Service as its pods are now.
func (c *cluster) publish(a *app) error {
	port, err := a.podPort()
	if err != nil {
		return err
	}
	front := a.service.Spec.Ports[0]
	slice := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      a.name + "-1",
			Namespace: a.service.Namespace,
			Labels:    map[string]string{discoveryv1.LabelServiceName: a.name, discoveryv1.LabelManagedBy: "demo"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new(front.Name), Protocol: new(corev1.ProtocolTCP), Port: new(int32(port))}},
		Endpoints:   []discoveryv1.Endpoint{},
	}
	for _, p := range a.pods {
		slice.Endpoints = append(slice.Endpoints, p.endpoint(a.service.Namespace))
	}
	return c.write("endpointslice-"+a.name+".yaml", slice)
}

// endpoint describes the pod with the conditions that the EndpointSlice controller would give it (KEP-1672).
func (p *pod) endpoint(namespace string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{p.addr.String()},
		Conditions: discoveryv1.EndpointConditions{
			Ready:       new(p.ready && !p.terminating),
			Serving:     new(p.ready),
			Terminating: new(p.terminating),
		},
		NodeName:  new(nodeName),
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: p.name},
	}
}

// write replaces a file in one step, so that a reader sees the old object or the new one.
func (c *cluster) write(name string, object any) error {
	text, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	draft := filepath.Join(c.dir, "."+name+".tmp")
	if err := os.WriteFile(draft, text, 0o644); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	if err := os.Rename(draft, filepath.Join(c.dir, name)); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return nil
}

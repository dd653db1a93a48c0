package main

import (
	"fmt"

	"k8s.io/klog/v2"

	"espalier/cmd/espalier/config"
	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/sysctl"
)

// machine is where the kernel's settings are.
const machine = sysctl.Root("/")

// prepare does what needs all privileges, for --init-only. A process that comes after it finds every value set, and
// writes none. Unlike kube-proxy it asks the API server for nothing.
//
// route_localnet is set here although the rule that guards it is not there yet: the process that brings the rule may not
// be able to.
func prepare(cfg config.Config) error {
	if err := setConntrack(cfg); err != nil {
		return err
	}
	if !localhostNodePorts(cfg) {
		return nil
	}
	return apply(sysctl.RouteLocalnet())
}

// setConntrack sets the size and the timeouts of conntrack.
func setConntrack(cfg config.Config) error {
	if !machine.HasConntrack() {
		if err := sysctl.LoadConntrack(); err != nil {
			klog.V(2).ErrorS(err, "Cannot load conntrack")
		}
	}
	return apply(cfg.Conntrack.Settings(machine.CPUs())...)
}

// setRouteLocalnet sets the sysctl that node ports on localhost need, unless it is set.
func setRouteLocalnet() error { return apply(sysctl.RouteLocalnet()) }

// checkRouteLocalnet finds out at the start whether setRouteLocalnet will be able to do its work, when the rules are in
// the kernel.
func checkRouteLocalnet(cfg config.Config) error {
	if !localhostNodePorts(cfg) {
		return nil
	}
	return machine.Check(sysctl.RouteLocalnet())
}

// localhostNodePorts reports whether node ports answer on 127.0.0.0/8. The address of the node makes no difference.
func localhostNodePorts(cfg config.Config) bool {
	rules, err := dataPlane{cfg.Rules}.config(model.Node{}, ipproto.IPv4, kernelFacts{})
	return err == nil && rules.Localhost(ipproto.IPv4)
}

func apply(settings ...sysctl.Setting) error {
	changes, err := machine.Apply(settings)
	for _, c := range changes {
		klog.InfoS("Set", "name", c.Name(), "value", c.Value, "before", c.Before)
	}
	if err != nil {
		return fmt.Errorf("prepare the kernel: %w", err)
	}
	return nil
}

package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Workload is what makes a pod on each node a proxy: manifests, and the program in their image.
type Workload struct {
	Access []byte // ServiceAccount and RBAC, as they are
	Config corev1.ConfigMap
	Daemon appsv1.DaemonSet

	Program string // the file of the program, here
	Path    string // the same in the image
	// Wrapped says that the image has iptables-wrappers in the place of the tools: "iptables" is that of the node's backend.
	Wrapped bool
}

// Espalier returns what deploy/ says; for the legacy backend, deploy/legacy patches it.
func Espalier(deploy, backend, program string) (*Workload, error) {
	base := func(name string) string { return filepath.Join(deploy, "base", name) }
	w := &Workload{Program: program, Path: "/usr/local/bin/espalier"}
	var patches []string
	if backend == "legacy" {
		patches = append(patches, filepath.Join(deploy, "legacy", "daemonset.yaml"))
	}
	return w, w.read(base("rbac.yaml"), base("configmap.yaml"), base("daemonset.yaml"), patches...)
}

// KubeProxy returns what kubeadm 1.37 deploys; the folder has its manifests.
func KubeProxy(manifests, program string) (*Workload, error) {
	in := func(name string) string { return filepath.Join(manifests, name) }
	w := &Workload{Program: program, Path: "/usr/local/bin/kube-proxy", Wrapped: true}
	return w, w.read(in("access.yaml"), in("configmap.yaml"), in("daemonset.yaml"))
}

// WithProgram returns the same with another program in the same place of the image.
func (w *Workload) WithProgram(program string) *Workload {
	other := *w
	other.Program = program
	return &other
}

func (w *Workload) read(access, config, daemon string, patches ...string) (err error) {
	if w.Access, err = os.ReadFile(access); err != nil {
		return err
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, &w.Config); err != nil {
		return fmt.Errorf("read %s: %w", config, err)
	}
	if text, err = os.ReadFile(daemon); err != nil {
		return err
	}
	for _, file := range patches {
		patch, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if text, err = patched(text, patch, appsv1.DaemonSet{}); err != nil {
			return fmt.Errorf("patch %s with %s: %w", daemon, file, err)
		}
	}
	if err := yaml.UnmarshalStrict(text, &w.Daemon); err != nil {
		return fmt.Errorf("read %s: %w", daemon, err)
	}
	return nil
}

// Install adapts the configuration to this cluster, and applies all but the DaemonSet: Proxy runs its pods.
func (c *Cluster) Install(ctx context.Context, w *Workload) error {
	if err := w.adapt(c.Plane.URL()); err != nil {
		return err
	}
	config, err := yaml.Marshal(w.Config)
	if err != nil {
		return err
	}
	return c.Apply(ctx, string(w.Access), string(config))
}

// pod is what runs on each node.
func (w *Workload) pod() corev1.PodSpec { return w.Daemon.Spec.Template.Spec }

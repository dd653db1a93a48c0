package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// Deployment is what deploy/ says about the proxy, with what is this cluster's put in.
type Deployment struct {
	Access []byte // ServiceAccount and RBAC, as they are
	Config corev1.ConfigMap
	Daemon appsv1.DaemonSet
}

// readDeployment reads deploy/base, and for the legacy backend deploy/legacy over it.
func readDeployment(dir string, backend string) (*Deployment, error) {
	d := &Deployment{}
	var err error
	if d.Access, err = os.ReadFile(filepath.Join(dir, "base", "rbac.yaml")); err != nil {
		return nil, err
	}
	if err := read(filepath.Join(dir, "base", "configmap.yaml"), &d.Config); err != nil {
		return nil, err
	}
	daemon, err := os.ReadFile(filepath.Join(dir, "base", "daemonset.yaml"))
	if err != nil {
		return nil, err
	}
	if backend == "legacy" {
		patch, err := os.ReadFile(filepath.Join(dir, "legacy", "daemonset.yaml"))
		if err != nil {
			return nil, err
		}
		if daemon, err = patched(daemon, patch, appsv1.DaemonSet{}); err != nil {
			return nil, fmt.Errorf("patch the DaemonSet with that of deploy/legacy: %w", err)
		}
	}
	if err := yaml.UnmarshalStrict(daemon, &d.Daemon); err != nil {
		return nil, fmt.Errorf("read the DaemonSet: %w", err)
	}
	return d, nil
}

func read(file string, into any) error {
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

// patched does what kustomize does with a patch.
func patched(object, patch []byte, kind any) ([]byte, error) {
	object, err := yaml.YAMLToJSON(object)
	if err != nil {
		return nil, err
	}
	if patch, err = yaml.YAMLToJSON(patch); err != nil {
		return nil, err
	}
	return strategicpatch.StrategicMergePatch(object, patch, kind)
}

// The keys of the ConfigMap.
const (
	configKey     = "config.conf"
	kubeconfigKey = "kubeconfig.conf"
)

// adapt puts in what the comments of the ConfigMap ask for: the address of the API server, and the pod ranges. Besides,
// the size of the conntrack table is left alone, because it belongs to the machine and not to a network namespace.
func (d *Deployment) adapt(server, podCIDRs string) error {
	err := edit(&d.Config, configKey, func(c map[string]any) error {
		c["clusterCIDR"] = podCIDRs
		conntrack, ok := c["conntrack"].(map[string]any)
		if !ok {
			return fmt.Errorf("there is no conntrack in it")
		}
		conntrack["maxPerCore"] = 0
		return nil
	})
	if err != nil {
		return err
	}
	return edit(&d.Config, kubeconfigKey, func(c map[string]any) error {
		clusters, _ := c["clusters"].([]any)
		if len(clusters) != 1 {
			return fmt.Errorf("it has %d clusters, want one", len(clusters))
		}
		cluster, _ := clusters[0].(map[string]any)
		entry, ok := cluster["cluster"].(map[string]any)
		if !ok {
			return fmt.Errorf("its cluster has no address to change")
		}
		entry["server"] = server
		return nil
	})
}

// edit changes a YAML file of a ConfigMap.
func edit(m *corev1.ConfigMap, key string, change func(map[string]any) error) error {
	content := map[string]any{}
	err := yaml.Unmarshal([]byte(m.Data[key]), &content)
	if err == nil {
		err = change(content)
	}
	var text []byte
	if err == nil {
		text, err = yaml.Marshal(content)
	}
	if err != nil {
		return fmt.Errorf("change %s of ConfigMap %s: %w", key, m.Name, err)
	}
	m.Data[key] = string(text)
	return nil
}

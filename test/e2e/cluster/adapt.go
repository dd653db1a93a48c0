package cluster

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"espalier/test/e2e/controlplane"
)

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

// adapt puts in what the comments of the ConfigMap ask for: the address of the API server, and the pod ranges. Besides,
// the size of the conntrack table is left alone, because it belongs to the machine and not to a network namespace.
func (w *Workload) adapt(server string) error {
	err := edit(&w.Config, "config.conf", func(c map[string]any) error {
		c["clusterCIDR"] = controlplane.PodCIDRs
		conntrack, ok := c["conntrack"].(map[string]any)
		if !ok {
			return fmt.Errorf("it has no conntrack to change")
		}
		conntrack["maxPerCore"] = 0
		return nil
	})
	if err != nil {
		return err
	}
	return edit(&w.Config, "kubeconfig.conf", func(c map[string]any) error {
		clusters, _ := c["clusters"].([]any)
		if len(clusters) != 1 {
			return fmt.Errorf("it has %d clusters, want one", len(clusters))
		}
		named, _ := clusters[0].(map[string]any)
		cluster, ok := named["cluster"].(map[string]any)
		if !ok {
			return fmt.Errorf("its cluster has no address to change")
		}
		cluster["server"] = server
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

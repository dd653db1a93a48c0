package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"espalier/test/e2e/cluster"
)

// The API server accepts every manifest of deploy/, and every variant, without a warning about a field; it is told to change
// nothing.
func TestManifestsAreAccepted(t *testing.T) {
	t.Parallel()
	c := theClusterFor(t)
	const deploy = "../../deploy"
	base := filepath.Join(deploy, "base")
	files, err := filepath.Glob(base + "/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("manifests %v, error %v", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		for document := range strings.SplitSeq(string(readFile(t, file)), "\n---\n") {
			if err := dryRun(patient(t), c, toJSON(t, []byte(document))); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	ours, kubeadms := filepath.Join(base, "daemonset.yaml"), filepath.Join(deploy, "testdata", "kubeadm-daemonset.yaml")
	for patch, of := range map[string]string{
		"legacy/daemonset.yaml": ours, "takeover/daemonset.yaml": ours,
		"takeover/kube-proxy.yaml": kubeadms, "kubeadm/image.yaml": kubeadms,
	} {
		changed, err := strategicpatch.StrategicMergePatch(toJSON(t, readFile(t, of)), toJSON(t, readFile(t, filepath.Join(deploy, patch))), appsv1.DaemonSet{})
		if err != nil {
			t.Fatalf("%s: %v", patch, err)
		}
		if err := dryRun(patient(t), c, changed); err != nil {
			t.Errorf("%s: %v", patch, err)
		}
	}
}

// The init container is privileged, because the API server refuses what would be less: see its comment.
func TestAnUnmaskedProcIsRefused(t *testing.T) {
	t.Parallel()
	c := theClusterFor(t)
	set := toJSON(t, readFile(t, "../../deploy/base/daemonset.yaml"))
	for change, want := range map[string]string{
		`{"spec": {"template": {"spec": {"initContainers": [{"name": "sysctls", "securityContext": {"privileged": false, "procMount": "Unmasked"}}]}}}}`:                     "hostUsers",
		`{"spec": {"template": {"spec": {"hostUsers": false, "initContainers": [{"name": "sysctls", "securityContext": {"privileged": false, "procMount": "Unmasked"}}]}}}}`: "hostNetwork",
		`{"spec": {"template": {"spec": {"securityContext": {"sysctls": [{"name": "net.netfilter.nf_conntrack_tcp_timeout_close_wait", "value": "3600"}]}}}}}`:               "hostNetwork",
	} {
		changed, err := strategicpatch.StrategicMergePatch(set, []byte(change), appsv1.DaemonSet{})
		if err != nil {
			t.Fatal(err)
		}
		if err := dryRun(patient(t), c, changed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that mentions %s", change, err, want)
		}
	}
}

// dryRun applies an object strictly, and changes nothing.
func dryRun(ctx context.Context, c *cluster.Cluster, object []byte) error {
	var o struct {
		APIVersion, Kind string
		Metadata         struct{ Name, Namespace string }
	}
	if err := json.Unmarshal(object, &o); err != nil {
		return err
	}
	path := "/apis/" + o.APIVersion
	if o.APIVersion == "v1" {
		path = "/api/v1"
	}
	if o.Metadata.Namespace != "" {
		path += "/namespaces/" + o.Metadata.Namespace
	}
	path += "/" + strings.ToLower(o.Kind) + "s/" + o.Metadata.Name
	q := c.Client.CoreV1().RESTClient().Patch(types.ApplyPatchType).AbsPath(path).Body(object)
	for name, value := range map[string]string{"fieldManager": "e2e-dry-run", "force": "true", "dryRun": "All", "fieldValidation": "Strict"} {
		q = q.Param(name, value)
	}
	if err := q.Do(ctx).Error(); err != nil {
		return fmt.Errorf("%s %s: %w", o.Kind, o.Metadata.Name, err)
	}
	return nil
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func toJSON(t *testing.T, text []byte) []byte {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

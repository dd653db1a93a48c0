package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"espalier/proxier/health"
	"espalier/proxier/iptables"
)

// read returns a file of this folder.
func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// object decodes one manifest, and accepts neither an unknown field nor one that is there twice.
func object(t *testing.T, text []byte) runtime.Object {
	t.Helper()
	o, _, err := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return o
}

// daemonSet returns the DaemonSet of the base, or of a variant of it.
func daemonSet(t *testing.T, variant string) *appsv1.DaemonSet {
	t.Helper()
	text, err := yaml.YAMLToJSON(read(t, "base/daemonset.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if variant != "base" {
		text = patched(t, text, variant+"/daemonset.yaml")
	}
	return object(t, text).(*appsv1.DaemonSet)
}

// patched applies a patch in which no field may be unknown.
func patched(t *testing.T, manifest []byte, patch string) []byte {
	t.Helper()
	if err := yaml.UnmarshalStrict(read(t, patch), &appsv1.DaemonSet{}); err != nil {
		t.Fatalf("%s: %v", patch, err)
	}
	var before, change any
	for _, part := range []struct {
		text []byte
		into *any
	}{{manifest, &before}, {read(t, patch), &change}} {
		if err := yaml.Unmarshal(part.text, part.into); err != nil {
			t.Fatal(err)
		}
	}
	result, err := yaml.Marshal(merged(before, change))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// merged is a strategic merge as far as these patches need it: maps are merged, lists of things with names, too, and all
// else is replaced.
func merged(before, change any) any {
	switch change := change.(type) {
	case map[string]any:
		old, _ := before.(map[string]any)
		result := maps.Clone(old)
		if result == nil {
			result = map[string]any{}
		}
		for key, value := range change {
			result[key] = merged(old[key], value)
		}
		return result
	case []any:
		old, _ := before.([]any)
		result := slices.Clone(old)
		for _, element := range change {
			i := slices.IndexFunc(old, func(o any) bool { return name(o) != "" && name(o) == name(element) })
			if i < 0 {
				return change
			}
			result[i] = merged(old[i], element)
		}
		return result
	}
	return change
}

func name(o any) string {
	m, _ := o.(map[string]any)
	s, _ := m["name"].(string)
	return s
}

// container returns the one that runs; the other one prepares the machine.
func container(t *testing.T, d *appsv1.DaemonSet) corev1.Container {
	t.Helper()
	pod := d.Spec.Template.Spec
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 1 {
		t.Fatalf("%d containers and %d init containers, want one of each", len(pod.Containers), len(pod.InitContainers))
	}
	return pod.Containers[0]
}

func TestManifestsAreOfTheirKinds(t *testing.T) {
	files, err := filepath.Glob("base/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("files %v, error %v", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		for document := range strings.SplitSeq(string(read(t, file)), "\n---\n") {
			object(t, []byte(document))
		}
	}
}

// TestKustomizations checks what kustomize builds from: that every file is there and is named, and that a variant has
// exactly one patch, of the DaemonSet, which changes what it is for and nothing else.
func TestKustomizations(t *testing.T) {
	type kustomization struct {
		APIVersion, Kind string
		Resources        []string
		Patches          []struct{ Path string }
		Images           []struct{ Name, NewName, NewTag string }
	}
	parse := func(variant string) (k kustomization) {
		if err := yaml.UnmarshalStrict(read(t, variant+"/kustomization.yaml"), &k); err != nil {
			t.Fatalf("%s: %v", variant, err)
		}
		if k.APIVersion != "kustomize.config.k8s.io/v1beta1" || k.Kind != "Kustomization" {
			t.Errorf("%s: is a %s of %s", variant, k.Kind, k.APIVersion)
		}
		return k
	}
	base := parse("base")
	files, _ := filepath.Glob("base/*.yaml")
	for _, file := range files {
		if name := filepath.Base(file); name != "kustomization.yaml" && !slices.Contains(base.Resources, name) {
			t.Errorf("%s is not among the resources", file)
		}
	}
	if len(base.Resources) != len(files)-1 {
		t.Errorf("resources %v, files %v", base.Resources, files)
	}
	image, _, _ := strings.Cut(container(t, daemonSet(t, "base")).Image, ":")
	if len(base.Images) != 1 || base.Images[0].Name != image {
		t.Errorf("images %v do not set %s", base.Images, image)
	}
	for variant, change := range map[string]func(*corev1.PodSpec){
		"legacy": func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"NET_ADMIN", "NET_RAW"}
		},
		"takeover": func(p *corev1.PodSpec) { p.NodeSelector["service-proxy"] = "espalier" },
	} {
		k := parse(variant)
		if !slices.Equal(k.Resources, []string{"../base"}) || len(k.Patches) != 1 || k.Patches[0].Path != "daemonset.yaml" {
			t.Errorf("%s: resources %v, patches %v", variant, k.Resources, k.Patches)
		}
		want := daemonSet(t, "base")
		change(&want.Spec.Template.Spec)
		if diff := cmp.Diff(want, daemonSet(t, variant)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", variant, diff)
		}
	}
}

// TestKubeadmsDaemonSet patches what kubeadm 1.37 makes.
func TestKubeadmsDaemonSet(t *testing.T) {
	made, err := yaml.YAMLToJSON(read(t, "testdata/kubeadm-daemonset.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := object(t, made).(*appsv1.DaemonSet)
	want.Spec.Template.Spec.Containers[0].Image = container(t, daemonSet(t, "base")).Image
	if diff := cmp.Diff(runtime.Object(want), object(t, patched(t, made, "kubeadm/image.yaml"))); diff != "" {
		t.Errorf("kubeadm/image.yaml changes more than the image (-want +got):\n%s", diff)
	}
	away := object(t, patched(t, made, "takeover/kube-proxy.yaml")).(*appsv1.DaemonSet)
	terms := away.Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	label := terms[0].MatchExpressions[0]
	ours := daemonSet(t, "takeover").Spec.Template.Spec.NodeSelector
	if _, there := ours[label.Key]; !there || label.Operator != corev1.NodeSelectorOpDoesNotExist {
		t.Errorf("kube-proxy stays away where %s %s, we come where %v", label.Key, label.Operator, ours)
	}
}

// The privileges are those that the program says it needs for the backend.
func TestCapabilities(t *testing.T) {
	for variant, backend := range map[string]iptables.Backend{"base": iptables.NFT, "legacy": iptables.Legacy} {
		c := container(t, daemonSet(t, variant)).SecurityContext
		var got []string
		for _, name := range c.Capabilities.Add {
			got = append(got, "CAP_"+string(name))
		}
		if diff := cmp.Diff(backend.Capabilities(), got); diff != "" {
			t.Errorf("%s: capabilities (-needed +granted):\n%s", variant, diff)
		}
	}
}

func TestHardening(t *testing.T) {
	d := daemonSet(t, "base")
	pod, c := d.Spec.Template.Spec, container(t, d)
	s := c.SecurityContext
	for what, ok := range map[string]bool{
		"it is not privileged":              !*s.Privileged,
		"it gets no more privileges":        !*s.AllowPrivilegeEscalation,
		"its root file system is read-only": *s.ReadOnlyRootFilesystem,
		"system calls are filtered":         s.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
		"all other capabilities are gone":   slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}),
		"it shares no namespace but one":    pod.HostNetwork && !pod.HostPID && !pod.HostIPC,
		"it is not evicted":                 pod.PriorityClassName == "system-node-critical",
		"it runs on every node":             len(pod.Tolerations) == 1 && pod.Tolerations[0] == corev1.Toleration{Operator: corev1.TolerationOpExists},
		"it asks for resources":             !c.Resources.Requests.Cpu().IsZero() && !c.Resources.Requests.Memory().IsZero(),
		"no memory limit kills it":          c.Resources.Limits == nil,
	} {
		if !ok {
			t.Errorf("it is not so that %s", what)
		}
	}
}

// The probes ask at the port of the configuration, and not what depends on the node's being drained.
func TestProbes(t *testing.T) {
	c := container(t, daemonSet(t, "base"))
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	cfg := resolved(t, configFile(t))
	want := map[string]int32{"healthz": int32(cfg.Serve.Healthz.Port()), "metrics": int32(cfg.Serve.Metrics.Port())}
	if diff := cmp.Diff(want, ports); diff != "" {
		t.Errorf("ports (-configured +in the DaemonSet):\n%s", diff)
	}
	for name, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe} {
		if p == nil || p.HTTPGet.Path != health.Livez || p.HTTPGet.Port.String() != "healthz" {
			t.Errorf("%s probe: %v, want %s at the port healthz", name, p, health.Livez)
		}
	}
}

// Prometheus finds the pods, and the port.
func TestPodMonitor(t *testing.T) {
	var m struct {
		APIVersion, Kind string
		Metadata         struct {
			Name, Namespace string
			Labels          map[string]string
		}
		Spec struct {
			Selector            struct{ MatchLabels map[string]string }
			PodMetricsEndpoints []struct {
				Port, Path  string
				Relabelings []struct {
					SourceLabels []string
					TargetLabel  string
				}
			}
		}
	}
	if err := yaml.UnmarshalStrict(read(t, "monitoring/podmonitor.yaml"), &m); err != nil {
		t.Fatal(err)
	}
	d := daemonSet(t, "base")
	if diff := cmp.Diff(d.Spec.Template.Labels, m.Spec.Selector.MatchLabels); diff != "" || m.Metadata.Namespace != d.Namespace {
		t.Errorf("it selects other pods, or in another namespace (-pods +selector):\n%s", diff)
	}
	if e := m.Spec.PodMetricsEndpoints; len(e) != 1 || e[0].Port != "metrics" || e[0].Path != "/metrics" {
		t.Errorf("endpoints %v, want the port metrics", e)
	}
}

package deploy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	yamlv3 "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kube-proxy/config/v1alpha1"
	"sigs.k8s.io/yaml"

	"espalier/cmd/espalier/config"
)

const header = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

func configMap(t *testing.T) map[string]string {
	t.Helper()
	return object(t, read(t, "base/configmap.yaml")).(*corev1.ConfigMap).Data
}

// configFile is the configuration that is deployed.
func configFile(t *testing.T) string { t.Helper(); return configMap(t)["config.conf"] }

// resolved is what comes of a configuration file.
func resolved(t *testing.T, text string) config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := parse("--config="+path, "--hostname-override=node-1")
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	cfg.File = config.File{}
	return cfg
}

func parse(args ...string) (config.Config, error) {
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	flags := config.NewFlags()
	flags.Add(fs)
	if err := fs.Parse(args); err != nil {
		return config.Config{}, err
	}
	loaded, err := flags.Load(fs)
	if err != nil {
		return config.Config{}, err
	}
	return loaded.Check()
}

// entry is a field of the file, with what its comment says.
type entry struct {
	path            []string
	value           *yamlv3.Node
	byDefault, here string
	text            string // of the comment
}

func (e entry) String() string { return strings.Join(e.path, ".") }

// entries are the fields of the deployed file, without its kind.
func entries(t *testing.T) []entry {
	t.Helper()
	var document yamlv3.Node
	if err := yamlv3.Unmarshal([]byte(configFile(t)), &document); err != nil {
		t.Fatal(err)
	}
	var all []entry
	var walk func(path []string, n *yamlv3.Node)
	walk = func(path []string, n *yamlv3.Node) {
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			below := append(slices.Clone(path), key.Value)
			switch {
			case len(path) == 0 && (key.Value == "apiVersion" || key.Value == "kind"):
			case value.Kind == yamlv3.MappingNode && len(value.Content) > 0:
				walk(below, value)
			default:
				e := entry{path: below, value: value, text: key.HeadComment}
				for line := range strings.SplitSeq(key.HeadComment, "\n") {
					if s, ok := strings.CutPrefix(line, "# Default: "); ok {
						e.byDefault = s
					}
					if s, ok := strings.CutPrefix(line, "# Here: "); ok {
						e.here = s
					}
				}
				all = append(all, e)
			}
		}
	}
	walk(nil, document.Content[0])
	return all
}

// fields are the paths of all fields of a type, as they are written in JSON.
func fields(typ reflect.Type, path []string) (all []string) {
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		below := append(slices.Clone(path), name)
		switch {
		case f.Name == "TypeMeta":
		case name == "": // embedded
			all = append(all, fields(f.Type, path)...)
		case f.Type.Kind() == reflect.Struct && !reflect.PointerTo(f.Type).Implements(reflect.TypeFor[interface{ UnmarshalJSON([]byte) error }]()):
			all = append(all, fields(f.Type, below)...)
		default:
			all = append(all, strings.Join(below, "."))
		}
	}
	return all
}

// Every field is in the file, and nothing that is not one.
func TestEveryFieldIsInTheConfigMap(t *testing.T) {
	want := fields(reflect.TypeFor[v1alpha1.KubeProxyConfiguration](), nil)
	var got []string
	for _, e := range entries(t) {
		got = append(got, e.String())
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-of the type +in configmap.yaml):\n%s", diff)
	}
	if notes := resolved(t, configFile(t)).Notes; len(notes) > 0 {
		t.Errorf("it is not read without a remark: %q", notes)
	}
}

// What the file says of each field is what the program makes of a file without it.
func TestDefaults(t *testing.T) {
	for _, e := range entries(t) {
		text, err := yamlv3.Marshal(e.value)
		if err != nil {
			t.Fatal(err)
		}
		if value := strings.TrimSpace(string(text)); e.byDefault == "" {
			t.Errorf("%s: no line of the comment begins with \"Default: \"", e)
		} else if (value == e.byDefault) != (e.here == "") {
			t.Errorf("%s: is %s, has the default %s, and the comment says of this place: %q", e, value, e.byDefault, e.here)
		}
		if diff := cmp.Diff(summary(t, header), summary(t, header+nested(e.path, e.byDefault))); diff != "" {
			t.Errorf("%s: %s is not its default (-default +what the comment says):\n%s", e, e.byDefault, diff)
		}
	}
}

// summary is all that is decided by a configuration file. No list and an empty one are the same.
func summary(t *testing.T, file string) string {
	t.Helper()
	c := resolved(t, file)
	kube, err := config.Encode(c.Kube)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(kube), ": null", ": []") +
		fmt.Sprintf("%+v\n%+v\n%+v\n%+v\n%v %v %q", c.Source, c.Rules, c.Serve, c.Conntrack, c.MinSyncPeriod, c.SyncPeriod, c.Notes)
}

// nested writes a value at a path.
func nested(path []string, value string) string {
	return strings.Join(path, ": {") + ": " + value + strings.Repeat("}", len(path)-1) + "\n"
}

// Fields without effect are called so, and no others.
func TestNoEffect(t *testing.T) {
	for _, e := range entries(t) {
		if e.String() == "configSyncPeriod" {
			continue // it is checked, so there is no remark
		}
		says := strings.Contains(e.text, "No effect")
		other, ok := map[string]string{"!!str": "x", "!!bool": "true", "!!int": "15", "!!seq": "[x]"}[e.value.Tag]
		if strings.HasSuffix(e.byDefault, "s") && e.value.Tag == "!!str" {
			other = "77s"
		}
		if !says || !ok {
			continue
		}
		notes := strings.Join(resolved(t, header+nested(e.path, other)).Notes, "\n")
		if !strings.Contains(notes, "no effect") || !strings.Contains(notes, e.String()) {
			t.Errorf("the comment says that %s has no effect, the program, of %s: %q", e, other, notes)
		}
	}
	said := strings.Count(configFile(t), "# No effect.")
	named := 0
	for _, e := range entries(t) {
		if root := e.path[0]; slices.Contains([]string{"ipvs", "nftables", "winkernel", "windowsRunAsService", "portRange"}, root) {
			named++
		}
	}
	if said != named {
		t.Errorf("%d fields are said to have no effect, want %d", said, named)
	}
}

// The command lines are understood, and name files that are mounted.
func TestCommands(t *testing.T) {
	d := daemonSet(t, "base")
	c, prepare := container(t, d), d.Spec.Template.Spec.InitContainers[0]
	if !slices.Equal(append(slices.Clone(c.Command), "--init-only"), prepare.Command) {
		t.Errorf("commands %q and %q differ in more than --init-only", c.Command, prepare.Command)
	}
	if c.Command[0] != "/usr/local/bin/espalier" || c.Command[1] != "run" {
		t.Errorf("command %q", c.Command)
	}
	dir := t.TempDir()
	for name, text := range configMap(t) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mount := c.VolumeMounts[0]
	if source := d.Spec.Template.Spec.Volumes[0]; source.Name != mount.Name || source.ConfigMap.Name != "espalier" {
		t.Fatalf("volume %v is mounted as %v", source, mount)
	}
	var args []string
	for _, a := range prepare.Command[2:] {
		args = append(args, strings.ReplaceAll(strings.ReplaceAll(a, mount.MountPath, dir), "$(NODE_NAME)", "Node-1"))
	}
	cfg, err := parse(args...)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Task != config.InitOnly || cfg.NodeName != "node-1" || len(cfg.Notes) > 0 {
		t.Errorf("task %v, node %q, notes %q", cfg.Task, cfg.NodeName, cfg.Notes)
	}
	if want := mount.MountPath + "/kubeconfig.conf"; cfg.Source.Kubeconfig != want {
		t.Errorf("kubeconfig %s, want %s", cfg.Source.Kubeconfig, want)
	}
}

// The kubeconfig file goes to the API server itself, with what a pod is given for its service account.
func TestKubeconfig(t *testing.T) {
	text := []byte(configMap(t)["kubeconfig.conf"])
	var raw any
	if err := yaml.UnmarshalStrict(text, &raw); err != nil {
		t.Fatal(err)
	}
	k, err := clientcmd.Load(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.ConfirmUsable(*k, ""); err != nil && !strings.Contains(err.Error(), "serviceaccount") {
		t.Error(err)
	}
	current := k.Contexts[k.CurrentContext]
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	got := fmt.Sprint(k.Clusters[current.Cluster].CertificateAuthority, " ", k.AuthInfos[current.AuthInfo].TokenFile)
	if want := account + "ca.crt " + account + "token"; got != want {
		t.Errorf("it trusts and shows %s, want %s", got, want)
	}
}

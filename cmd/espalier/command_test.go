package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
)

var update = flag.Bool("update", false, "rewrite what the golden files expect")

// quiet is a program whose logging is what it is in a test.
func quiet() program {
	return program{setUp: func(*logsapi.LoggingConfiguration, featuregate.FeatureGate) error { return nil }}
}

// execute runs the command line in this process.
func execute(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := quiet().command()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errOut.String(), err
}

// Each file has a line that says why the case exists, the arguments, the manifests, and what is printed.
func TestDump(t *testing.T) {
	files, err := filepath.Glob("testdata/dump/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var args []string
			var manifests string
			for _, f := range archive.Files {
				switch f.Name {
				case "arguments":
					args = strings.Fields(string(f.Data))
				case "manifests.yaml":
					manifests = string(f.Data)
				}
			}
			stdout, stderr, err := execute(t, manifests, append([]string{"dump", "--manifests=-", "--iptables-backend=legacy"}, args...)...)
			if err != nil {
				stderr += "error: " + err.Error() + "\n"
			}
			got := map[string]string{"stdout": stdout, "stderr": stderr}
			for i, f := range archive.Files {
				text, ok := got[f.Name]
				if !ok {
					continue
				}
				if *update {
					archive.Files[i].Data = []byte(text)
				} else if diff := cmp.Diff(string(f.Data), text); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestCommandLineErrorsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []string // all in the error
	}{
		{"unknown command", []string{"dmup"}, []string{`"dmup"`, "--help"}},
		{"unknown flag", []string{"dump", "--manifest", "x"}, []string{"--manifest", "espalier dump --help"}},
		{"flag of a wrong type", []string{"run", "--masquerade-all=perhaps"}, []string{"perhaps", "--masquerade-all"}},
		{"missing file", []string{"dump", "--manifests", "/nonexistent/shop.yaml"}, []string{"/nonexistent/shop.yaml"}},
		{"no source", []string{"dump"}, []string{"--kubeconfig", "--manifests"}},
		{"two sources", []string{"dump", "--manifests", "a", "--kubeconfig", "b"}, []string{"--manifests", "--kubeconfig", "exclude"}},
		{"missing kubeconfig", []string{"run", "--kubeconfig", "/nonexistent/config"}, []string{"/nonexistent/config"}},
		{"family", []string{"dump", "--manifests=-", "--ip-family=ipx"}, []string{"--ip-family", "ipx", "ipv4"}},
		{"output", []string{"dump", "--manifests=-", "-o", "yaml"}, []string{"--output", "yaml", "stats"}},
		{"backend", []string{"dump", "--manifests=-", "--iptables-backend=ebpf"}, []string{"--iptables-backend", "ebpf", "legacy"}},
		{"CIDR", []string{"dump", "--manifests=-", "--cluster-cidr=10.0.0.0"}, []string{"--cluster-cidr", "10.0.0.0", "10.244.0.0/16"}},
		{"two CIDRs of a family", []string{"dump", "--manifests=-", "--cluster-cidr=10.0.0.0/8,11.0.0.0/8"}, []string{"11.0.0.0/8", "second"}},
		{"detection", []string{"dump", "--manifests=-", "--detect-local-mode=nodecidr"}, []string{"nodecidr", "NodeCIDR"}},
		{"detection without its flag", []string{"dump", "--manifests=-", "--detect-local-mode=BridgeInterface"}, []string{"--pod-bridge-interface"}},
		{"interface with a blank", []string{"dump", "--manifests=-", "--detect-local-mode=BridgeInterface", "--pod-bridge-interface=br 0"}, []string{"br 0"}},
		{"mark", []string{"dump", "--manifests=-", "--iptables-masquerade-bit=32"}, []string{"--iptables-masquerade-bit", "31"}},
		{"node ports", []string{"dump", "--manifests=-", "--nodeport-addresses=everywhere"}, []string{"everywhere", "primary"}},
		{"several errors at once", []string{"dump", "--manifests=-", "--nodeport-addresses=x", "--iptables-masquerade-bit=99"}, []string{"--nodeport-addresses", "--iptables-masquerade-bit"}},
		{"blank host name", []string{"dump", "--manifests=-", "--hostname-override= "}, []string{"--hostname-override"}},
		{"period", []string{"run", "--manifests=x", "--iptables-min-sync-period=2h"}, []string{"--iptables-min-sync-period", "1h"}},
		{"address of probes", []string{"run", "--manifests=x", "--healthz-bind-address=localhost:10256"}, []string{"--healthz-bind-address", "localhost", "0.0.0.0:10256"}},
		{"address of metrics", []string{"run", "--manifests=x", "--metrics-bind-address=127.0.0.1:0"}, []string{"--metrics-bind-address", "port"}},
		{"standard input cannot be watched", []string{"run", "--manifests=-"}, []string{"standard input", "dump"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, _, err := execute(t, "", test.args...)
			if err == nil {
				t.Fatalf("no error; printed %q", stdout)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not mention %q", err, part)
				}
			}
			if stdout != "" {
				t.Errorf("an error, but something was printed: %q", stdout)
			}
		})
	}
}

func TestUnderscoresInFlagsAreDashes(t *testing.T) {
	if _, _, err := execute(t, "# nothing\n", "dump", "--manifests=-", "--cluster_cidr=10.244.0.0/16", "--iptables_backend=nft"); err != nil {
		t.Error(err)
	}
}

func TestEmptyArgumentsOfManifestsAreIgnored(t *testing.T) {
	if _, _, err := execute(t, "# nothing\n", "dump", "--manifests=-", ""); err != nil {
		t.Error(err)
	}
}

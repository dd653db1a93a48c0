package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asProgram makes a test binary the program.
const asProgram = "ESPALIER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// call runs this binary as a program of some name, in a process of its own.
func call(t *testing.T, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args = append([]string{name}, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ended := errors.AsType[*exec.ExitError](err); !ended {
			t.Fatal(err)
		}
	}
	// Built with the race detector, component-base says so.
	lines := slices.DeleteFunc(slices.Collect(strings.Lines(errs.String())), func(line string) bool {
		return strings.Contains(line, "Data race detection enabled")
	})
	return cmd.ProcessState.ExitCode(), out.String(), strings.Join(lines, "")
}

// As kube-proxy 1.37.2 does: which exit status, what on which stream, and in which order.
func TestCalledAsKubeProxy(t *testing.T) {
	const never = " --oom-score-adj=9999" // so that nothing starts
	for _, test := range []struct {
		name           string
		args           string
		code           int
		stdout, stderr []string // in this order
	}{
		{"help", "--help", 0, []string{"Usage:\n  kube-proxy [flags]", "--cluster-cidr"}, nil},
		{"help in short", "-h", 0, []string{"Usage:\n  kube-proxy [flags]"}, nil},
		{"version", "--version", 0, []string{"Kubernetes v1.37.2+espalier."}, nil},
		{"version before everything else", "--version --config=/nonexistent" + never, 0, []string{"Kubernetes v1.37.2"}, nil},
		{"version with all parts", "--version=raw", 0, []string{"version.Info{", `Minor:"37"`, "Platform:"}, nil},
		{"version switched off", "--version=false" + never, 1, nil, []string{"check the configuration"}},
		{"version of a distribution", "--version=v1.37.2-gke.1" + never, 1, nil, []string{"check the configuration"}},
		{"version of another release", "--version=v1.36.0", 1, nil, []string{"Usage:", "\nError: ", "v1.36.0"}},
		{"version that is none", "--version=perhaps", 1, nil, []string{"Usage:", "\nError: ", "perhaps"}},
		{"unknown flag", "--bogus", 1, nil, []string{"Usage:", "\nError: unknown flag: --bogus\n"}},
		{"bad value", "--bind-address=localhost", 1, nil, []string{"Usage:", "\nError: ", "localhost"}},
		{"argument", "run", 1, nil, []string{`Error: "kube-proxy" takes no arguments`}},
		{"empty arguments", " " + never, 1, nil, []string{"check the configuration"}},
		{"a file that is not there", "--config=/nonexistent", 1, nil, []string{`"command failed"`, "load the configuration"}},
		{"unknown gate", "--feature-gates=Bogus=true", 1, nil, []string{`"command failed"`, "load the configuration", "Bogus"}},
		{"bad logging", "--logging-format=xml", 1, nil, []string{`"command failed"`, "set up logging", "xml"}},
		{"bad value of a setting", "--proxy-mode=ipvs", 1, nil, []string{`"command failed"`, "check the configuration", `use \"iptables\"`}},
		{"deprecated flag", "--healthz-port=10300" + never, 1, nil, []string{"Flag --healthz-port has been deprecated", "check the configuration"}},
		{"flags at verbosity 1", "-v=1 --cluster_cidr=10.0.0.0/8" + never, 1, nil, []string{`FLAG: --cluster-cidr="10.0.0.0/8"`, `FLAG: --v="1"`, "check the configuration"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := call(t, "/usr/local/bin/kube-proxy", strings.Split(test.args, " ")...)
			if code != test.code {
				t.Errorf("exit status %d, want %d", code, test.code)
			}
			inOrder(t, "standard output", stdout, test.stdout)
			inOrder(t, "standard error", stderr, test.stderr)
		})
	}
}

// inOrder checks that a text has parts; without any, that it is empty.
func inOrder(t *testing.T, what, text string, parts []string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
			return
		}
		rest = after
	}
	if len(parts) == 0 && text != "" {
		t.Errorf("on %s: %q, want nothing", what, text)
	}
}

func TestDeprecatedFlagsAreNotShown(t *testing.T) {
	_, stdout, _ := call(t, "kube-proxy", "--help")
	for _, flag := range []string{"--healthz-port", "--metrics-port"} {
		if strings.Contains(stdout, flag) {
			t.Errorf("help shows %s", flag)
		}
	}
}

// A log in JSON is JSON from the first line that the program writes to the last.
func TestLogInJSON(t *testing.T) {
	code, stdout, stderr := call(t, "kube-proxy", "--logging-format=json", "-v=1", "--oom-score-adj=9999")
	if code != 1 || stdout != "" {
		t.Errorf("exit status %d, and %q on standard output; want 1 and nothing", code, stdout)
	}
	var last map[string]any
	for line := range strings.Lines(stderr) {
		last = nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
	}
	for _, key := range []string{"ts", "caller", "msg", "err"} {
		if _, ok := last[key]; !ok {
			t.Errorf("the last line has no %q: %v", key, last)
		}
	}
}

func TestWriteConfigWritesWhatTheFileAndTheFlagsComeTo(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.yaml"), filepath.Join(dir, "out.yaml")
	if err := os.WriteFile(in, []byte("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.0.0.0/8\nbogus: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, program := range [][]string{{"kube-proxy"}, {"espalier", "run"}, {"espalier"}} {
		args := append(program[1:], "--config", in, "--hostname-override=N1", "--write-config-to", out, "-v=3", "--cleanup")
		code, stdout, stderr := call(t, program[0], args...)
		if code != 0 || stdout != "" {
			t.Fatalf("%v: exit status %d, output %q:\n%s", program, code, stdout, stderr)
		}
		inOrder(t, "standard error", stderr, []string{"bogus", `"Wrote configuration" file="` + out})
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		inOrder(t, out, string(text), []string{"clusterCIDR: 10.0.0.0/8\n", "hostnameOverride: n1\n", "minSyncPeriod: 1s\n", "verbosity: 3\n"})
	}
	code, _, stderr := call(t, "kube-proxy", "--write-config-to", filepath.Join(dir, "no", "such", "directory"))
	if code != 1 || !strings.Contains(stderr, "write the configuration") {
		t.Errorf("where it cannot be written: exit status %d:\n%s", code, stderr)
	}
}

// What a file says about rules is what dump plans with.
func TestDumpObeysTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.conf")
	text := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.244.0.0/16\n" +
		"clientConnection: {kubeconfig: /nonexistent}\niptables: {masqueradeBit: 3}\nfeatureGates: {AllowServiceExternalIPs: false}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const manifest = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.4.1, externalIPs: [198.51.100.7], ports: [{port: 80}]}
`
	args := []string{"dump", "--manifests=-", "--iptables-backend=legacy", "--hostname-override=n1"}
	byFile, stderr, err := execute(t, manifest, append(args, "--config", file)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	byFlags, _, err := execute(t, manifest, append(args, "--cluster-cidr=10.244.0.0/16", "--iptables-masquerade-bit=3", "--feature-gates=AllowServiceExternalIPs=false")...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(byFlags, byFile); diff != "" {
		t.Errorf("rules (-by flags +by file):\n%s", diff)
	}
	if strings.Contains(byFile, "198.51.100.7") || !strings.Contains(byFile, "10.96.4.1") {
		t.Errorf("want rules for the cluster IP and none for the external IP:\n%s", byFile)
	}
	byDefault, _, err := execute(t, manifest, args...)
	if err != nil || !strings.Contains(byDefault, "198.51.100.7") {
		t.Errorf("want rules for the external IP (error %v):\n%s", err, byDefault)
	}
}

package config

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"golang.org/x/tools/txtar"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // the format json
)

var kubeProxy = flag.String("kube-proxy", "", "a kube-proxy 1.37.2, to record anew what it makes of the cases; needs root, for a network namespace")

// recorded has what kube-proxy 1.37.2 made of the cases. It was built from k8s.io/kubernetes v1.37.2 with its version
// stamped into k8s.io/component-base/version, and run as
//
//	unshare -n kube-proxy ARGUMENTS --write-config-to OUT
//
// by "go test ./cmd/espalier/config -run TestLikeKubeProxy -kube-proxy PATH". For each case there is the phase in which it
// gave up, or how OUT differs from the one without any arguments, which is the file "defaults".
const recorded = "testdata/kube-proxy-1.37.2.txtar"

// The phases in which a command line can fail: its syntax; reading the file, and the gates; logging; all the rest.
const (
	phaseParse   = "parse"
	phaseLoad    = "load"
	phaseLogging = "logging"
	phaseCheck   = "check"
)

// outcome is "fails: PHASE", or a configuration.
type outcome string

func failure(phase string) outcome { return outcome("fails: " + phase + "\n") }

// ours is what this package makes of a case.
func ours(t *testing.T, args []string) (outcome, error) {
	t.Helper()
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	fs.SetOutput(t.Output())
	f := NewFlags()
	f.Add(fs)
	if err := fs.Parse(args); err != nil {
		return failure(phaseParse), err
	}
	l, err := f.Load(fs)
	if err != nil {
		return failure(phaseLoad), err
	}
	if errs := logsapi.Validate(l.Logging(), l.Gates(), nil); len(errs) > 0 {
		return failure(phaseLogging), errs.ToAggregate()
	}
	c, err := l.Check()
	if err != nil {
		return failure(phaseCheck), err
	}
	text, err := Encode(c.Kube)
	if err != nil {
		t.Fatal(err)
	}
	return outcome(text), nil
}

// theirs is what kube-proxy makes of it. It never gets further than writing the file.
func theirs(t *testing.T, args []string, write bool) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out := filepath.Join(t.TempDir(), "out.yaml")
	if write {
		args = append(args, "--write-config-to", out)
	}
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"-n", *kubeProxy}, args...)...)
	stderr, err := cmd.CombinedOutput()
	if err == nil {
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		return outcome(text)
	}
	for text, phase := range map[string]string{
		"failed complete": phaseLoad, "initialize logging": phaseLogging, "failed validate": phaseCheck, "\nError: ": phaseParse,
	} {
		if strings.Contains(string(stderr), text) {
			return failure(phase)
		}
	}
	t.Fatalf("%v\n%s", err, stderr)
	return ""
}

// against returns how it differs from another configuration: lines that are gone begin with -, those that are new with +.
func (o outcome) against(defaults outcome) string {
	if strings.HasPrefix(string(o), "fails: ") {
		return string(o)
	}
	before, after := defaults.lines(), o.lines()
	var out strings.Builder
	for _, line := range before {
		if !slices.Contains(after, line) {
			fmt.Fprint(&out, "- ", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			fmt.Fprint(&out, "+ ", line)
		}
	}
	if out.Len() == 0 {
		return "as the defaults\n"
	}
	return out.String()
}

// lines returns the lines, each with the top-level key that it belongs to.
func (o outcome) lines() []string {
	var all []string
	section := ""
	for line := range strings.Lines(string(o)) {
		section = sectionOf(line, section)
		all = append(all, section+line)
	}
	return all
}

// sectionOf keeps the top-level key in front of its fields, so that a line shows what it belongs to.
func sectionOf(line, section string) string {
	if line[0] != ' ' && line[0] != '-' {
		key, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		return "[" + key + "] "
	}
	return section
}

func TestLikeKubeProxy(t *testing.T) {
	dir := t.TempDir()
	arguments := func(c row) []string {
		args := strings.Split(c.args, " ")
		if c.args == "" {
			args = nil
		}
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "␣", " ")
		}
		if c.file != "" {
			path := filepath.Join(dir, "config.conf")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append([]string{"--config", path}, args...)
		}
		return args
	}
	want := record(t, arguments)
	defaults := outcome(want["defaults"])
	for _, c := range rows() {
		t.Run(c.name, func(t *testing.T) {
			args := arguments(c)
			if !c.nowrite {
				args = append(args, "--write-config-to", "/nonexistent/never-written")
			}
			got, err := ours(t, args)
			expected := want[c.name]
			if c.instead != "" {
				if c.instead == expected {
					t.Errorf("this is said to differ from kube-proxy, but does not: %q", expected)
				}
				expected = c.instead
			}
			if diff := cmp.Diff(expected, got.against(defaults)); diff != "" {
				t.Errorf("%v: error %v; (-want +got):\n%s", args, err, diff)
			}
			if err != nil && c.says != "" && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
		})
	}
}

// record returns what kube-proxy made of the cases; anew, if there is one.
func record(t *testing.T, arguments func(row) []string) map[string]string {
	t.Helper()
	want := map[string]string{}
	if *kubeProxy == "" {
		archive, err := txtar.ParseFile(recorded)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			want[f.Name] = string(f.Data)
		}
		return want
	}
	defaults := theirs(t, nil, true)
	archive := &txtar.Archive{
		Comment: []byte("What kube-proxy 1.37.2 makes of the cases in rows_test.go; see reference_test.go.\n"),
		Files:   []txtar.File{{Name: "defaults", Data: []byte(defaults)}},
	}
	want["defaults"] = string(defaults)
	for _, c := range rows() {
		want[c.name] = theirs(t, arguments(c), !c.nowrite).against(defaults)
		archive.Files = append(archive.Files, txtar.File{Name: c.name, Data: []byte(want[c.name])})
	}
	if err := os.WriteFile(recorded, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
	return want
}

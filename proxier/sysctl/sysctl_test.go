package sysctl_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/sysctl"
)

const conntrack = "proc/sys/net/netfilter/nf_conntrack_"

// scratch is a root with files in it.
func scratch(t *testing.T, files map[string]string) sysctl.Root {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return sysctl.Root(dir)
}

// contents returns the files below a root.
func contents(t *testing.T, r sysctl.Root) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(string(r), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(string(r), path)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestConntrackSettings(t *testing.T) {
	size := func(n, buckets int) map[string]int {
		return map[string]int{conntrack + "max": n, "sys/module/nf_conntrack/parameters/hashsize": buckets}
	}
	for _, test := range []struct {
		name string
		want sysctl.Conntrack
		cpus int
		set  map[string]int
	}{
		{"nothing", sysctl.Conntrack{}, 4, map[string]int{}},
		{"for each processor", sysctl.Conntrack{MaxPerCore: 32768, Min: 131072}, 8, size(262144, 65536)},
		{"at least the minimum", sysctl.Conntrack{MaxPerCore: 32768, Min: 131072}, 2, size(131072, 32768)},
		{"without a maximum the minimum means nothing", sysctl.Conntrack{Min: 131072}, 2, map[string]int{}},
		{"at the limit", sysctl.Conntrack{MaxPerCore: 32768, Min: 1}, 32, size(1048576, 262144)},
		{"above the limit", sysctl.Conntrack{MaxPerCore: 32768, Min: 1}, 33, size(1048576, 262144)},
		{"the limit is above the minimum", sysctl.Conntrack{MaxPerCore: 32768, Min: 2000000}, 33, size(1048576, 262144)},
		{"but not if the processors do not reach it", sysctl.Conntrack{MaxPerCore: 32768, Min: 2000000}, 2, size(2000000, 500000)},
		{"timeouts in whole seconds", sysctl.Conntrack{Established: 24 * time.Hour, CloseWait: 1999 * time.Millisecond}, 4,
			map[string]int{conntrack + "tcp_timeout_established": 86400, conntrack + "tcp_timeout_close_wait": 1}},
		{"timeouts below a second become zero, as in kube-proxy", sysctl.Conntrack{UDP: time.Millisecond, UDPStream: 2 * time.Second}, 4,
			map[string]int{conntrack + "udp_timeout": 0, conntrack + "udp_timeout_stream": 2}},
		{"liberal", sysctl.Conntrack{Liberal: true}, 4, map[string]int{conntrack + "tcp_be_liberal": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := map[string]int{}
			for _, s := range test.want.Settings(test.cpus) {
				set[s.Path] = s.Value
			}
			if diff := cmp.Diff(test.set, set); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnlyWhatDiffersIsWritten(t *testing.T) {
	settings := sysctl.Conntrack{MaxPerCore: 100, Min: 1000, Established: time.Minute, CloseWait: time.Minute, Liberal: true}.Settings(1)
	root := scratch(t, map[string]string{
		conntrack + "max": "2000\n", // more is as good
		"sys/module/nf_conntrack/parameters/hashsize": "249\n",
		conntrack + "tcp_timeout_established":         "60\n",
		conntrack + "tcp_timeout_close_wait":          "61\n", // more is not
		conntrack + "tcp_be_liberal":                  "nonsense",
	})
	changes, err := root.Apply(settings)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, c := range changes {
		got[c.Name()] = c.Before
	}
	want := map[string]int{
		"/sys/module/nf_conntrack/parameters/hashsize":      249,
		"net.netfilter.nf_conntrack_tcp_timeout_close_wait": 61,
		"net.netfilter.nf_conntrack_tcp_be_liberal":         -1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes, with the values before (-want +got):\n%s", diff)
	}
	files := map[string]string{
		conntrack + "max": "2000\n",
		"sys/module/nf_conntrack/parameters/hashsize": "250\n",
		conntrack + "tcp_timeout_established":         "60\n",
		conntrack + "tcp_timeout_close_wait":          "60\n",
		conntrack + "tcp_be_liberal":                  "1\n",
	}
	if diff := cmp.Diff(files, contents(t, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if changes, err := root.Apply(settings); err != nil || len(changes) > 0 {
		t.Errorf("the second time: changes %v, error %v; want none", changes, err)
	}
}

func TestAMissingModuleIsNamed(t *testing.T) {
	root := scratch(t, nil)
	settings := sysctl.Conntrack{MaxPerCore: 1, Min: 1}.Settings(1)
	for name, err := range map[string]error{"check": root.Check(settings[0]), "apply": func() error { _, err := root.Apply(settings); return err }()} {
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		for _, part := range []string{"net.netfilter.nf_conntrack_max", "modprobe nf_conntrack", "--conntrack-max-per-core=0"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q does not mention %q", name, err, part)
			}
		}
	}
	if files := contents(t, root); len(files) > 0 {
		t.Errorf("files were made: %v", files)
	}
}

func TestCPUs(t *testing.T) {
	for online, want := range map[string]int{"0-7\n": 8, "0\n": 1, "0-3,8-11\n": 8, "0,2\n": 2} {
		root := scratch(t, map[string]string{"sys/devices/system/cpu/online": online})
		if got := root.CPUs(); got != want {
			t.Errorf("online %q: %d processors, want %d", online, got, want)
		}
	}
	if got := scratch(t, nil).CPUs(); got < 1 {
		t.Errorf("where nothing says: %d processors, want those of this process", got)
	}
}

func TestOOMScore(t *testing.T) {
	root := scratch(t, map[string]string{"proc/self/oom_score_adj": "0\n"})
	if err := root.SetOOMScore(-999); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"proc/self/oom_score_adj": "-999\n"}, contents(t, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := scratch(t, nil).SetOOMScore(-999); err == nil || !strings.Contains(err.Error(), "-999") {
		t.Errorf("without the file: error %v, want one that names the score", err)
	}
}

func TestConntrackLiberal(t *testing.T) {
	for text, want := range map[string]bool{"0\n": false, "1\n": true, "2\n": true, "x": false} {
		if got := scratch(t, map[string]string{sysctl.Liberal: text}).ConntrackLiberal(); got != want {
			t.Errorf("%q: liberal %v, want %v", text, got, want)
		}
	}
	if scratch(t, nil).ConntrackLiberal() {
		t.Error("liberal, although there is no such file")
	}
}

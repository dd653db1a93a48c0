package file

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/watcher/convert"
)

var update = flag.Bool("update", false, "rewrite the section want of testdata/*.txtar")

// TestRead runs testdata/*.txtar. The first line of a case says why it is there. Its files are written into an
// empty directory and one is read: the directory dir/ if there is one, or the file stdin as standard input, or
// else the first file. The own node is node-a. The last file, want, is what came out.
func TestRead(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			name, err := filepath.Abs(name)
			if err != nil {
				t.Fatal(err)
			}
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			last := len(a.Files) - 1
			if last < 1 || a.Files[last].Name != "want" || len(bytes.TrimSpace(a.Comment)) == 0 {
				t.Fatal("a case has a reason, files, and a last file named want")
			}
			t.Chdir(t.TempDir()) // names in messages are then as short as in want
			var stdin []byte
			path := a.Files[0].Name
			for _, f := range a.Files[:last] {
				switch {
				case f.Name == "stdin":
					path, stdin = "-", f.Data
				case strings.HasPrefix(f.Name, "dir/"):
					path = "dir"
				}
				write(t, f.Name, string(f.Data))
			}
			got := summary(Read(path, bytes.NewReader(stdin), convert.Options{NodeName: "node-a"}))
			if *update {
				a.Files[last].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := gocmp.Diff(string(a.Files[last].Data), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// write writes a file, and makes the directories it is in.
func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// summary prints a reading, a line for each thing that was found.
func summary(r Result, err error) string {
	var b strings.Builder
	if err != nil {
		for line := range strings.Lines(err.Error() + "\n") {
			b.WriteString("error: " + line)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(r.State.Services), model.ServiceName.Compare) {
		for _, s := range r.State.Services[name] {
			fmt.Fprintf(&b, "service %v %v", name, s.ClusterIP)
			for _, p := range s.Ports {
				fmt.Fprintf(&b, " %s/%v:%d", cmp.Or(p.Name, "-"), p.Proto, p.Port)
				if p.NodePort != 0 {
					fmt.Fprintf(&b, ",%d", p.NodePort)
				}
			}
			if s.Affinity != 0 {
				fmt.Fprintf(&b, " affinity %v", s.Affinity)
			}
			b.WriteString("\n")
		}
	}
	var lines []string
	for name, s := range r.State.Slices {
		lines = append(lines, fmt.Sprintf("slice %s/%s of %v%s", name.Namespace, name.Name, s.Service, endpoints(s)))
	}
	slices.Sort(lines)
	for _, f := range ipproto.Families {
		if n, ok := r.State.Nodes[f]; ok {
			lines = append(lines, fmt.Sprintf("node %s %v zone %s %v %v", n.Name, f, cmp.Or(n.Zone, "unknown"), n.IP, n.PodCIDR))
		}
	}
	for _, p := range r.Problems {
		lines = append(lines, "problem: "+p.String())
	}
	for _, n := range r.Notices {
		lines = append(lines, "notice: "+n)
	}
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	return b.String()
}

func endpoints(s *model.Slice) string {
	var b strings.Builder
	for _, p := range s.Ports {
		fmt.Fprintf(&b, " %s/%v:%d", cmp.Or(p.Name, "-"), p.Proto, p.Port)
	}
	b.WriteString(" on")
	for _, a := range s.Addresses {
		fmt.Fprintf(&b, " %v", a.Addr)
		if a.Local {
			b.WriteString(",local")
		}
		if !a.Ready {
			b.WriteString(",unready")
		}
	}
	return b.String()
}

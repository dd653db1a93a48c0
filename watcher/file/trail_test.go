package file

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The trail of a reading, and which events matter to it.
func TestFollow(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	t.Chdir(top)
	configMap(t)
	write(t, "dir/web.yaml", web(1))
	symlink(t, "config", "link")
	symlink(t, filepath.Join(top, "dir"), "far/absolute")
	symlink(t, "b", "far/a")
	symlink(t, "a", "far/b")

	for _, tc := range []struct {
		name, path string
		want       []string // below top
	}{
		{"a file", "dir/web.yaml", []string{"dir", "dir/web.yaml"}},
		{"a directory", "dir", []string{"dir"}},
		{"dots are no names", "./dir/../dir/.", []string{"dir"}},
		{"a file that does not exist", "dir/db.yaml", []string{"dir", "dir/db.yaml"}},
		{"nothing below what does not exist", "missing/dir/db.yaml", []string{"missing"}},
		{"nothing below a file", "dir/web.yaml/db.yaml", []string{"dir", "dir/web.yaml", "dir/web.yaml/db.yaml"}},
		{"a ConfigMap", "config", []string{"config", "config/..2026_08_01", "config/..2026_08_01/web.yaml", "config/..data",
			"config/web.yaml"}},
		{"a file of a ConfigMap, through a link", "link/web.yaml", []string{"config", "config/..2026_08_01",
			"config/..2026_08_01/web.yaml", "config/..data", "config/web.yaml", "link"}},
		{"an absolute link", "far/absolute/web.yaml", []string{"dir", "dir/web.yaml", "far", "far/absolute"}},
		{"links in a circle", "far/a", []string{"far", "far/a", "far/b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			trail, err := follow(tc.path)
			must(t, err)
			var got []string
			for _, name := range slices.Sorted(maps.Keys(trail.names)) {
				if below, ok := strings.CutPrefix(name, top+"/"); ok {
					got = append(got, below)
				} else if name != top && !strings.HasPrefix(top, name+"/") {
					t.Errorf("%s is no place on the way", name)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTrailMatters(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	t.Chdir(top)
	configMap(t)
	for _, tc := range []struct {
		path, event string
		want        bool
	}{
		{"config", "config/web.yaml", true},
		{"config", "config/new.yml", true},
		{"config", "config/..data", true},
		{"config", "config", true},
		{"config", "config/..2026_08_01/web.yaml", true},
		{"config", "config/..2026_08_01/other.yaml", false},
		{"config", "config/..2026_08_02", false},
		{"config", "config/.web.yaml.swp", false},
		{"config", "config/web.yaml~", false},
		{"config", "other.yaml", false},
		{"config/web.yaml", "config/other.yaml", false},
		{"config/web.yaml", "config/..data", true},
	} {
		trail, err := follow(tc.path)
		must(t, err)
		if got := trail.matters(filepath.Join(top, tc.event)); got != tc.want {
			t.Errorf("reading %s, an event of %s: matters %v, want %v", tc.path, tc.event, got, tc.want)
		}
	}
	if trail, _ := follow("config"); !trail.matters(string(os.PathSeparator) + strings.Split(top, "/")[1]) {
		t.Error("nobody notices when the first directory of all is replaced")
	}
}

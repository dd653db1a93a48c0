package file

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"

	"espalier/watcher/convert"
)

// deadline is how long a test waits for what should come at once. It is long because machines are busy.
const deadline = 20 * time.Second

// watching is a Watch under test.
type watching struct {
	t       *testing.T
	results chan string // summaries
	errors  chan error
}

// start watches a path whose first reading is want.
func start(t *testing.T, path, want string) *watching {
	t.Helper()
	w := &watching{t, make(chan string, 1000), make(chan error, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	into := func(r Result) { w.results <- summary(Result{State: r.State, Problems: r.Problems}, nil) }
	go func() {
		ended <- Watch(ctx, path, convert.Options{}, into, func(err error) { w.errors <- err })
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Watch ended with %v", err)
			}
		case <-time.After(deadline):
			t.Error("Watch goes on after its context ended")
		}
	})
	w.await(want)
	return w
}

// await waits until a reading gave want. There may be others before: what the test does to the files takes
// several steps, and a reading may fall between them.
func (w *watching) await(want string) {
	w.t.Helper()
	last := "nothing"
	for timeout := time.After(deadline); ; {
		select {
		case last = <-w.results:
			if last == want {
				return
			}
		case <-timeout:
			w.t.Fatalf("waited in vain for\n%s\nlast: %s", want, last)
		}
	}
}

// awaitError waits for an error that contains text.
func (w *watching) awaitError(text string) {
	w.t.Helper()
	var last error
	for timeout := time.After(deadline); ; {
		select {
		case last = <-w.errors:
			if strings.Contains(last.Error(), text) {
				return
			}
		case <-timeout:
			w.t.Fatalf("waited in vain for an error with %q; last: %v", text, last)
		}
	}
}

// web is a manifest of a Service with the cluster IP 10.96.0.n, and sees is the summary of reading it.
func web(n int) string { return strings.ReplaceAll(service, "10.96.0.1", fmt.Sprintf("10.96.0.%d", n)) }

func sees(n int) string { return fmt.Sprintf("service default/web 10.96.0.%d -/tcp:80\n", n) }

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// In all of these, the manifest first has the address 1 and then 2.
func TestWatchSeesChanges(t *testing.T) {
	for _, tc := range []struct {
		name   string
		path   string
		setup  func(t *testing.T)
		change func(t *testing.T)
	}{
		{"a file is written in place", "dir/web.yaml", plain, func(t *testing.T) {
			write(t, "dir/web.yaml", web(2))
		}},
		{"a file in a directory is written in place", "dir", plain, func(t *testing.T) {
			write(t, "dir/web.yaml", web(2))
		}},
		{"another file is renamed over it", "dir/web.yaml", plain, func(t *testing.T) {
			write(t, "dir/.web.yaml.tmp", web(2))
			must(t, os.Rename("dir/.web.yaml.tmp", "dir/web.yaml"))
		}},
		{"another file from elsewhere is renamed over it", "dir", plain, func(t *testing.T) {
			write(t, "new", web(2))
			must(t, os.Rename("new", "dir/web.yaml"))
		}},
		{"vim writes a file of a directory", "dir", plain, vim},
		{"vim writes the file", "dir/web.yaml", plain, vim},
		{"sed -i", "dir", plain, func(t *testing.T) {
			must(t, exec.Command("sed", "-i", "s/10.96.0.1/10.96.0.2/", "dir/web.yaml").Run())
		}},
		{"a ConfigMap is updated", "config", configMap, updateConfigMap},
		{"a ConfigMap is updated, and one file of it is read", "config/web.yaml", configMap, updateConfigMap},
		{"a ConfigMap is updated, seen through a link", "link/web.yaml", func(t *testing.T) {
			configMap(t)
			symlink(t, "config", "link")
		}, updateConfigMap},
		{"a link to a release is set to the next one", "live/web.yaml", func(t *testing.T) {
			write(t, "releases/1/web.yaml", web(1))
			write(t, "releases/2/web.yaml", web(2))
			symlink(t, "releases/1", "live")
		}, func(t *testing.T) {
			symlink(t, "releases/2", "next")
			must(t, os.Rename("next", "live"))
		}},
		{"the file that a link in a directory leads to is written", "dir", func(t *testing.T) {
			write(t, "elsewhere/web.txt", web(1))
			symlink(t, "../elsewhere/web.txt", "dir/web.yaml")
		}, func(t *testing.T) {
			write(t, "elsewhere/web.txt", web(2))
		}},
		{"the directory is replaced by another", "dir", plain, func(t *testing.T) {
			write(t, "next/web.yaml", web(2))
			must(t, os.Rename("dir", "old"), os.Rename("next", "dir"))
		}},
		{"the directory is removed and made again", "dir", plain, func(t *testing.T) {
			must(t, os.RemoveAll("dir"))
			write(t, "dir/web.yaml", web(2))
		}},
		{"directories above are removed and made again", "a/b/c/web.yaml", func(t *testing.T) {
			write(t, "a/b/c/web.yaml", web(1))
		}, func(t *testing.T) {
			must(t, os.RemoveAll("a"))
			write(t, "a/b/c/web.yaml", web(2))
		}},
		{"a directory above is moved away and another put there", "a/b/c", func(t *testing.T) {
			write(t, "a/b/c/web.yaml", web(1))
			write(t, "other/c/web.yaml", web(2))
		}, func(t *testing.T) {
			must(t, os.Rename("a/b", "a/old"), os.Rename("other", "a/b"))
		}},
		{"a file takes the place of the directory", "dir", plain, func(t *testing.T) {
			write(t, "web", web(2))
			must(t, os.RemoveAll("dir"), os.Rename("web", "dir"))
		}},
		{"a directory takes the place of the file", "web.yaml", func(t *testing.T) {
			write(t, "web.yaml", web(1))
		}, func(t *testing.T) {
			write(t, "next/web.yaml", web(2))
			must(t, os.Remove("web.yaml"), os.Rename("next", "web.yaml"))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			tc.setup(t)
			w := start(t, tc.path, sees(1))
			tc.change(t)
			w.await(sees(2))
		})
	}
}

func plain(t *testing.T) { write(t, "dir/web.yaml", web(1)) }

// vim does what vim does with backupcopy=no: it tries whether it may create files, moves the file to a backup
// and writes a new one.
func vim(t *testing.T) {
	write(t, "dir/4913", "")
	must(t, os.Remove("dir/4913"), os.Rename("dir/web.yaml", "dir/web.yaml~"))
	write(t, "dir/web.yaml", web(2))
	must(t, os.Remove("dir/web.yaml~"))
}

// configMap lays out a ConfigMap as the kubelet does in a volume (pkg/volume/util/atomic_writer.go).
func configMap(t *testing.T) {
	write(t, "config/..2026_08_01/web.yaml", web(1))
	symlink(t, "..2026_08_01", "config/..data")
	symlink(t, "..data/web.yaml", "config/web.yaml")
}

// updateConfigMap updates it as the kubelet does.
func updateConfigMap(t *testing.T) {
	write(t, "config/..2026_08_02/web.yaml", web(2))
	symlink(t, "..2026_08_02", "config/..data_tmp")
	must(t, os.Rename("config/..data_tmp", "config/..data"), os.RemoveAll("config/..2026_08_01"))
}

// A second update must be seen as well as the first: the watches have to move along.
func TestWatchFollowsEveryUpdate(t *testing.T) {
	t.Chdir(t.TempDir())
	configMap(t)
	w := start(t, "config", sees(1))
	old := "config/..2026_08_01"
	for n := 2; n < 6; n++ {
		next := fmt.Sprintf("..2026_08_%02d", n)
		write(t, filepath.Join("config", next, "web.yaml"), web(n))
		symlink(t, next, "config/..data_tmp")
		must(t, os.Rename("config/..data_tmp", "config/..data"), os.RemoveAll(old))
		w.await(sees(n))
		old = filepath.Join("config", next)
	}
}

func TestWatchFilesComeAndGo(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, os.Mkdir("dir", 0o755))
	w := start(t, "dir", "")
	write(t, "dir/web.yaml", web(1))
	w.await(sees(1))
	db := strings.ReplaceAll(web(2), "web", "db")
	write(t, "dir/db.json", "{}") // broken for a moment
	w.awaitError("dir/db.json:1: there is no kind")
	write(t, "dir/db.yml", db)
	must(t, os.Remove("dir/db.json"))
	w.await("service default/db 10.96.0.2 -/tcp:80\n" + sees(1))
	must(t, os.Remove("dir/web.yaml"))
	w.await("service default/db 10.96.0.2 -/tcp:80\n")
	must(t, os.Rename("dir/db.yml", "dir/db.off"))
	w.await("")
	if len(w.errors) > 0 {
		t.Errorf("another error: %v", <-w.errors)
	}
}

// Half a file is not the cluster: what was read last stays in force.
func TestWatchKeepsTheLastGoodState(t *testing.T) {
	t.Chdir(t.TempDir())
	two := web(1) + "---\n" + strings.ReplaceAll(web(2), "web", "db")
	write(t, "web.yaml", two)
	both := "service default/db 10.96.0.2 -/tcp:80\n" + sees(1)
	w := start(t, "web.yaml", both)
	for _, step := range []struct{ name, text, err string }{
		{"truncated", "", "web.yaml: it is empty"},
		{"cut in a line", two[:40], "web.yaml:3: did not find expected node content"},
		{"cut in a word", two[:20], "web.yaml:1: there is no kind"},
	} {
		write(t, "web.yaml", step.text)
		w.awaitError(step.err)
	}
	must(t, os.Remove("web.yaml"))
	w.awaitError("web.yaml: no such file or directory")
	if len(w.results) > 0 {
		t.Errorf("a broken file gave a state: %s", <-w.results)
	}
	write(t, "web.yaml", two)
	w.await(both) // the same as before: it says that the errors are over
}

// Something that never ends must not keep the changes from being read.
func TestWatchInAStorm(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "dir/web.yaml", web(1))
	w := start(t, "dir", sees(1))
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for n := 0; err == nil; n++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err = os.WriteFile("dir/.new", []byte(web(2+n%200)), 0o644); err == nil {
				err = os.Rename("dir/.new", "dir/web.yaml")
			}
		}
		stopped <- err
	}()
	defer func() {
		close(stop)
		must(t, <-stopped)
	}()
	for range 2 { // while the storm goes on
		select {
		case <-w.results:
		case <-time.After(deadline):
			t.Fatal("nothing is read")
		}
	}
}

// Whatever happens to the files, in the end Watch has what Read has.
func TestWatchAgreesWithRead(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	t.Chdir(t.TempDir())
	write(t, "top/dir/web.yaml", web(1))
	w := start(t, "top/dir", sees(1))
	last := sees(1)
	for range 15 {
		for range 1 + random.IntN(4) {
			disturb(t, random)
		}
		// The last step leaves something new to see.
		must(t, os.RemoveAll("top/dir/web.yaml"))
		write(t, "top/dir/web.yaml", web(1+random.IntN(250)))
		r, err := Read("top/dir", nil, convert.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if want := summary(Result{State: r.State, Problems: r.Problems}, nil); want != last {
			w.await(want)
			last = want
		}
	}
}

// disturb does something to the files. It fails often, which is fine.
func disturb(t *testing.T, random *rand.Rand) {
	name := fmt.Sprintf("top/dir/%c.yaml", 'a'+rune(random.IntN(3)))
	text := strings.ReplaceAll(web(1+random.IntN(250)), "web", fmt.Sprintf("s%d", random.IntN(5)))
	switch random.IntN(9) {
	case 0, 1:
		_ = os.RemoveAll(name)
		write(t, name, text)
	case 2:
		write(t, "top/dir/.tmp", text)
		_ = os.Rename("top/dir/.tmp", name)
	case 3:
		_ = os.Remove(name)
	case 4:
		_ = os.RemoveAll("top/dir")
	case 5:
		_ = os.RemoveAll("top")
	case 6:
		_ = os.RemoveAll("old")
		_ = os.Rename("top", "old")
	case 7:
		write(t, "elsewhere/x.yaml", text)
		_ = os.MkdirAll("top/dir", 0o755)
		_ = os.Remove(name)
		_ = os.Symlink("../../elsewhere/x.yaml", name)
	case 8:
		write(t, "releases/dir/b.yaml", text)
		_ = os.RemoveAll("top")
		_ = os.Symlink("releases", "top")
	}
}

// What did not change is not worth a call: it would be logged again, and compared by everybody.
func TestWatchReadsOnlyWhatChanged(t *testing.T) {
	t.Chdir(t.TempDir())
	notify, err := fsnotify.NewWatcher()
	must(t, err)
	defer notify.Close()
	w := &watch{path: "dir", notify: notify, burst: newDebounce(), seed: maphash.MakeSeed()}
	var got []string
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"first", func() { write(t, "dir/web.yaml", web(1)) }},
		{"touched", func() { write(t, "dir/web.yaml", web(1)) }},
		{"changed", func() { write(t, "dir/web.yaml", web(2)) }},
		{"renamed", func() { must(t, os.Rename("dir/web.yaml", "dir/b.yaml")) }},
		{"broken", func() { write(t, "dir/b.yaml", "{") }},
		{"still broken", func() { write(t, "dir/c.yaml", web(3)) }},
		{"broken in another way", func() { write(t, "dir/b.yaml", "a: b: c") }},
		{"gone", func() { must(t, os.Rename("dir", "old")) }},
		{"still gone", func() { must(t, os.Rename("old", "older")) }},
		{"back, and broken as before", func() { must(t, os.Rename("older", "dir")) }},
		{"mended", func() { must(t, os.Remove("dir/b.yaml")) }},
		{"gone again", func() { must(t, os.Rename("dir", "old")) }},
		{"back as it was", func() { must(t, os.Rename("old", "dir")) }},
	} {
		step.do()
		_, changed, err := w.read()
		switch {
		case !changed:
			got = append(got, step.name+": nothing")
		case err != nil:
			got = append(got, step.name+": "+err.Error())
		default:
			got = append(got, step.name+": a state")
		}
	}
	want := []string{
		"first: a state",
		"touched: nothing",
		"changed: a state",
		"renamed: a state",
		"broken: dir/b.yaml:1: did not find expected node content",
		"still broken: nothing",
		"broken in another way: dir/b.yaml:1: mapping values are not allowed in this context",
		"gone: read manifests: stat dir: no such file or directory",
		"still gone: nothing",
		"back, and broken as before: dir/b.yaml:1: mapping values are not allowed in this context",
		"mended: a state",
		"gone again: read manifests: stat dir: no such file or directory",
		"back as it was: a state",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A thousand readings must not leave a thousand watches behind.
func TestWatchForgetsDirectories(t *testing.T) {
	t.Chdir(t.TempDir())
	configMap(t)
	notify, err := fsnotify.NewWatcher()
	must(t, err)
	defer notify.Close()
	w := &watch{path: "config", notify: notify, burst: newDebounce(), seed: maphash.MakeSeed()}
	_, _, err = w.read()
	must(t, err)
	before := len(notify.WatchList())
	write(t, "config/..2026_08_02/web.yaml", web(2))
	symlink(t, "..2026_08_02", "config/..data_tmp")
	must(t, os.Rename("config/..data_tmp", "config/..data")) // the old directory stays
	_, _, err = w.read()
	must(t, err)
	if after := len(notify.WatchList()); after != before {
		t.Errorf("%d directories are watched, and before %d: %q", after, before, notify.WatchList())
	}
}

func TestWatchRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, syscall.Mkfifo("pipe", 0o600))
	write(t, "broken.yaml", "kind: [")
	for _, tc := range []struct{ name, path, want string }{
		{"standard input", "-", "watch manifests: standard input can be read only once"},
		{"a pipe", "pipe", "watch manifests: pipe is neither a file nor a directory; it can be read only once"},
		{"what is broken from the start", "broken.yaml", "broken.yaml:1: did not find expected node content"},
		{"what does not exist", "missing", "read manifests: stat missing: no such file or directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Watch(t.Context(), tc.path, convert.Options{}, func(Result) { t.Error("a result") }, func(error) {})
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v\nwant %s", err, tc.want)
			}
		})
	}
}

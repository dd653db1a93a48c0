package file

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// trail is what the kernel looks up to resolve paths: every name in every directory, on the way through
// symbolic links, too. If nothing happens to these names, the paths lead where they led before. A ConfigMap in
// a pod is an example for why it takes all of them: web.yaml leads to ..data/web.yaml, where ..data is a link to
// a directory ..2026_08_01, and an update replaces nothing but that link.
type trail struct {
	// names are paths of a directory without links in it, and a name that is looked up there. The name need not
	// exist: that it appears is an event, too.
	names map[string]bool
	// manifests is the directory in which all manifests count; empty: a single file is read.
	manifests string
	// file is the single file, if there is one.
	file string
}

// follow returns the trail of reading the manifests at path.
func follow(path string) (trail, error) {
	t := trail{names: map[string]bool{}}
	abs, err := filepath.Abs(path)
	if err != nil {
		return t, err
	}
	end := t.resolve(abs)
	info, err := os.Lstat(end)
	if err != nil {
		return t, nil // it does not exist, which the reading will tell
	}
	if !info.IsDir() {
		t.file = end
		return t, nil
	}
	t.manifests = end
	entries, err := os.ReadDir(end)
	if err != nil {
		return t, nil
	}
	for _, e := range entries {
		if isManifest(e.Name()) && e.Type()&os.ModeSymlink != 0 {
			t.resolve(filepath.Join(end, e.Name()))
		}
	}
	return t, nil
}

// resolve notes every name that is looked up to resolve an absolute path. It returns where the path leads, or
// the first place on the way that does not exist.
func (t *trail) resolve(abs string) string {
	const mostLinks = 40 // as in the kernel
	dir, todo := "/", strings.Split(abs, "/")
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			dir = filepath.Dir(dir)
			continue
		}
		full := filepath.Join(dir, name)
		t.names[full] = true
		target, err := os.Readlink(full)
		if err != nil { // not a link, or it does not exist
			if _, err := os.Lstat(full); err != nil {
				return full
			}
			dir = full
			continue
		}
		if links++; links > mostLinks {
			return full
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		todo = slices.Concat(strings.Split(target, "/"), todo)
	}
	return dir
}

// matters reports whether an event about a path can change what is read.
func (t trail) matters(path string) bool {
	return t.names[path] || t.manifests != "" && filepath.Dir(path) == t.manifests && isManifest(filepath.Base(path))
}

// watched returns what to watch: the directories in which names are looked up, and the single file itself,
// because a file may be mounted on its own, and then its directory hears nothing of changes.
func (t trail) watched() map[string]bool {
	paths := map[string]bool{}
	for name := range t.names {
		paths[filepath.Dir(name)] = true
	}
	if t.manifests != "" {
		paths[t.manifests] = true
	}
	if t.file != "" {
		paths[t.file] = true
	}
	return paths
}

// needs reports whether changes of the manifests cannot be seen without watching path.
func (t trail) needs(path string) bool {
	return path == t.manifests || t.file != "" && (path == t.file || path == filepath.Dir(t.file))
}

func (t trail) equal(o trail) bool {
	return t.manifests == o.manifests && t.file == o.file && maps.Equal(t.names, o.names)
}

package file

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/watcher/convert"
)

// service is a Service that is read without a word.
const service = `apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
`

// readStdin reads text and returns the summary without the notice that there is no Node.
func readStdin(text string) string {
	r, err := Read("-", strings.NewReader(text), convert.Options{NodeName: "node-a"})
	if len(r.Notices) > 0 {
		r.Notices = r.Notices[:len(r.Notices)-1]
	}
	return summary(r, err)
}

func TestText(t *testing.T) {
	const read = "service default/web 10.96.0.1 -/tcp:80\n"
	for _, tc := range []struct{ name, text, want string }{
		{"line breaks of Windows", strings.ReplaceAll("---\n"+service+"---\n", "\n", "\r\n"), read},
		{"a list with line breaks of Windows", strings.ReplaceAll("apiVersion: v1\nkind: List\nitems:\n- "+
			strings.ReplaceAll(strings.TrimSpace(service), "\n", "\n  "), "\n", "\r\n"), read},
		{"line breaks of old Macs, one document", strings.ReplaceAll(service, "\n", "\r"), read},
		{"line breaks of old Macs, two documents", strings.ReplaceAll(service+"---\n"+service, "\n", "\r"),
			"error: stdin:1: the line before --- ends with \"\\r\"; use line feeds\n"},
		{"a byte order mark", "\xef\xbb\xbf" + service, read},
		{"UTF-16", "\xff\xfea\x00", "error: stdin: the text is UTF-16, as PowerShell writes it; convert it to UTF-8\n"},
		{"no line break at the end", strings.TrimSpace(service), read},
		{"text that is not UTF-8", "a: \xff", "error: stdin:1: invalid leading UTF-8 octet\n"},
		{"a byte of zero", "a: \x00", "error: stdin:1: control characters are not allowed\n"},
		{"binary data", "\x7fELF\x02\x01\x01\x00", "error: stdin:1: control characters are not allowed\n"},
		{"nothing", "", "error: stdin: it is empty; remove the file, or write a comment into it, if it is meant to hold nothing\n"},
		{"nothing but space", "\n \n", ""},
		{"a list of a list of a …", strings.Repeat(`{"apiVersion":"v1","kind":"List","items":[`, 1000) + strings.Repeat(`]}`, 1000),
			"error: stdin:1: lists are nested more than 8 deep\n"},
		{"an array of an array of a …", strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
			"error: stdin:1: lists are nested more than 8 deep\n"},
		{"many mistakes", strings.Repeat("--- 1\n", 100), strings.Join(mistakes(20), "") + "error: and 80 more errors\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := readStdin(tc.text); got != tc.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tc.want)
			}
		})
	}
}

func mistakes(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = "error: stdin:" + strconv.Itoa(i+1) + ": this is not an object: 1\n"
	}
	return lines
}

// A few bytes of YAML must not become gigabytes.
func TestReadRefusesWhatGrows(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n")
	for i := range 12 {
		a := string(rune('a' + i))
		b := string(rune('a' + i + 1))
		laughs.WriteString(b + "0: &" + b + "0 [" + strings.Repeat("*"+a+"0, ", 9) + "]\n")
	}
	for name, text := range map[string]string{
		"a billion laughs":           laughs.String(),
		"a long string, many times":  "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a, ", 100_000) + "]\n",
		"a string, very many times":  "a: &a " + strings.Repeat("x", 100) + "\nb: [" + strings.Repeat("*a, ", 1_000_000) + "]\n",
		"an alias of itself":         "a: &a [*a]\n",
		"an alias of its parent":     "a: &a {b: {c: *a}}\n",
		"merged into itself":         "a: &a {<<: *a}\n",
		"a document of 9 MiB":        "a: " + strings.Repeat("x", 9<<20),
		"a list of 9 MiB, in braces": "{kind: List, items: [" + strings.Repeat("a,", 9<<19) + "]}",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			got := readStdin(text)
			if !strings.HasPrefix(got, "error: stdin:1: ") || !strings.Contains(got, "MiB") {
				t.Errorf("got %.200s", got)
			}
			if took := time.Since(start); took > 2*time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// Each line of a message must not cost a walk through the whole document.
func TestReadManyMessages(t *testing.T) {
	const n = 4000
	line := "{apiVersion: v1, kind: Node, metadata: {name: a, name: b}},\n"
	began := time.Now()
	r, err := Read("-", strings.NewReader("[ # flow style\n"+strings.Repeat(line, n)+"]"), convert.Options{})
	if err != nil || len(r.Problems) < n-1 {
		t.Fatalf("%d problems, %v", len(r.Problems), err)
	}
	want := fmt.Sprintf("Node b: it is there twice, at stdin:2 and at stdin:%d; the first one counts", n+1)
	if got := r.Problems[len(r.Problems)-1].String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if took := time.Since(began); took > 20*time.Second { // a second, or several minutes
		t.Errorf("it took %v", took)
	}
}

func TestReadText(t *testing.T) {
	if _, err := readText("a.yaml", strings.NewReader("12345"), 4); err == nil {
		t.Error("5 bytes were read where 4 are allowed")
	}
	if data, err := readText("a.yaml", strings.NewReader("1234"), 4); err != nil || string(data) != "1234" {
		t.Errorf("4 bytes where 4 are allowed: %q, %v", data, err)
	}
}

// What cannot be read is an error, and never waited for.
func TestReadFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "dir/web.yaml", service)
	if err := syscall.Mkfifo("dir/pipe.yaml", 0o600); err != nil {
		t.Fatal(err)
	}
	symlink(t, "web.yaml", "link.yaml")
	symlink(t, "../nowhere", "broken/dangling.yaml")
	symlink(t, "loop.yaml", "broken/loop.yaml")
	write(t, "broken/web.yaml/file", "")
	symlink(t, "../dir/web.yaml", "linked/web.yaml")

	const web = "service default/web 10.96.0.1 -/tcp:80\n"
	for _, tc := range []struct{ name, path, want string }{
		{"a pipe in a directory is skipped", "dir", web + "notice: dir/pipe.yaml: skipped; it is not a regular file\n"},
		{"a link is followed", "linked", web},
		{"a link to a directory", "linked/", web},
		{"links that lead nowhere", "broken", "error: read manifests: stat broken/dangling.yaml: no such file or directory\n" +
			"error: read manifests: stat broken/loop.yaml: too many levels of symbolic links\n"},
		{"nothing is there", "missing.yaml", "error: read manifests: stat missing.yaml: no such file or directory\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Read(tc.path, nil, convert.Options{NodeName: "node-a"})
			if len(r.Notices) > 0 {
				r.Notices = r.Notices[:len(r.Notices)-1]
			}
			if got := summary(r, err); got != tc.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tc.want)
			}
		})
	}
	if _, err := Read("-", nil, convert.Options{}); err == nil {
		t.Error("without a standard input, it was read")
	}
	if _, err := Read("-", failing{}, convert.Options{}); !errors.Is(err, errTest) {
		t.Errorf("of a broken standard input: %v", err)
	}
}

var errTest = errors.New("broken pipe")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errTest }

// symlink makes a symbolic link, and the directories it is in.
func symlink(t testing.TB, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// FuzzRead: no input makes the reader panic, hang or be of two minds.
func FuzzRead(f *testing.F) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range cases {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for part := range strings.SplitSeq(string(data), "\n-- ") {
			_, text, _ := strings.Cut(part, " --\n")
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := convert.Options{NodeName: "node-a"}
		r, err := Read("-", bytes.NewReader(data), o)
		again, errAgain := Read("-", bytes.NewReader(data), o)
		if a, b := summary(r, err), summary(again, errAgain); a != b {
			t.Errorf("first\n%s\nthen\n%s", a, b)
		}
		if err != nil && (len(r.State.Services) > 0 || !strings.Contains(err.Error(), "stdin")) {
			t.Errorf("an error with a state, or without a place: %v", err)
		}
		for line := range strings.Lines(summary(r, err)) {
			if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\x00\x1b") {
				t.Errorf("a message for the terminal holds control characters: %q", line)
			}
		}
	})
}

func TestElements(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string // the elements; none: it cannot be taken apart
		rest       string
	}{
		{"dashes in the column of the key", "kind: List\nitems:\n- a\n- b\nmetadata:\n- c\n",
			[]string{"- a\n", "- b\n"}, "kind: List\nmetadata:\n- c\n"},
		{"dashes further to the right", "items:\n  - a\n  - b", []string{"  - a\n", "  - b"}, ""},
		{"lists in elements", "items:\n- a:\n  - b\n  - c\n-\n  - d\n", []string{"- a:\n  - b\n  - c\n", "-\n  - d\n"}, ""},
		{"comments and empty lines", "items: # all\n# one\n- a\n\n# two\n - b\n# end\nkind: List\n",
			[]string{"# one\n- a\n\n# two\n - b\n# end\n"}, "kind: List\n"},
		{"no list", "items:\nkind: List\n", nil, ""},
		{"a list in brackets", "items:\n  [a]\n", nil, ""},
		{"a value on the line of the key", "items: []\n- a\n", nil, ""},
		{"twice", "items:\n- a\nitems:\n- b\n", nil, ""},
		{"dashes of several columns", "items:\n  - a\n - b\n", nil, ""},
		{"a key that only begins like it", "items:x:\n- a\n", nil, ""},
		{"a key further in", "a:\n  items:\n  - a\n", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			elems, rest, ok := chunk{line: 1, text: []byte(tc.text)}.elements()
			var got []string
			for _, e := range elems {
				got = append(got, string(e.text))
				if want := 1 + strings.Count(tc.text[:strings.Index(tc.text, string(e.text))], "\n"); e.line != want {
					t.Errorf("%q is in line %d, want %d", e.text, e.line, want)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if ok != (tc.want != nil) || ok && string(rest.text) != tc.rest {
				t.Errorf("ok %v, rest %q", ok, rest.text)
			}
		})
	}
}

// FuzzElements: a list that is taken apart is what the whole is.
func FuzzElements(f *testing.F) {
	f.Add("- a: b\n- c: |\n    - d\n  e: \"\n  - f\"\n")
	f.Add("# c\n  - a\n\n  -\n    b: c\n")
	f.Add("- a: 'x\n- y: z'\n- b\n")
	f.Add("#\x1a\n-")
	f.Add("- \n\r 0")
	f.Add("- apiVersion: v1\n  kind: a\n  items:\n  - kind: List\n    apiVersion: v1\n    items:\n    - a\n")
	f.Fuzz(func(t *testing.T, list string) {
		c := chunk{file: "list", line: 1, text: []byte("kind: List\napiVersion: v1\nitems:\n" + list)}
		docs := documents(text{c.file, c.text})
		elems, rest, ok := c.elements()
		if !ok || len(docs) != 1 || checkBreaks(text{c.file, c.text}) != nil {
			return
		}
		parts, err := decodeElements(elems, rest)
		if err != nil {
			return
		}
		whole, err := decodeYAML(c)
		if err != nil {
			t.Fatalf("only the parts can be decoded: %v", err)
		}
		objs, err := whole.all()
		if err != nil {
			t.Fatalf("the parts are objects, the whole is none: %v", err)
		}
		if len(objs) != len(parts) {
			t.Fatalf("%d parts of %d", len(parts), len(objs))
		}
		for i := range objs {
			if !bytes.Equal(objs[i].data(), parts[i].data()) {
				t.Errorf("element %d: part %s\nwhole %s", i, parts[i].data(), objs[i].data())
			}
			if a, b := objs[i].place(), parts[i].place(); a != b {
				t.Errorf("element %d: part at %s, whole at %s", i, a, b)
			}
		}
	})
}

package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// Whatever is in a file, it is refused, or comes to a configuration that comes to the same when it is written and read.
func FuzzFile(f *testing.F) {
	for _, r := range rows() {
		if r.file != "" {
			f.Add([]byte(r.file))
		}
	}
	dir := f.TempDir()
	load := func(t *testing.T, text []byte) (Config, error) {
		path := filepath.Join(dir, "config.conf")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
		flags := NewFlags()
		flags.Add(fs)
		if err := fs.Parse([]string{"--config", path, "--hostname-override=n"}); err != nil {
			t.Fatal(err)
		}
		l, err := flags.Load(fs)
		if err != nil {
			return Config{}, err
		}
		return l.Check()
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := load(t, text)
		if err != nil {
			return
		}
		written, err := Encode(c.Kube)
		if err != nil {
			t.Fatal(err)
		}
		again, err := load(t, written)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, written)
		}
		rewritten, err := Encode(again.Kube)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(written), string(rewritten)); diff != "" {
			t.Errorf("written, read, and written (-first +second):\n%s", diff)
		}
	})
}

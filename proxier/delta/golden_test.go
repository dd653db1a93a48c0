package delta_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata/*.txtar")

// Each file has what the kernel has and what is wanted ("want" missing: everything is removed; "jumps" present:
// missing jumps are inserted), then the text for each strategy.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]ruleset.Ruleset{}
	got := &txtar.Archive{Comment: ar.Comment}
	for _, f := range ar.Files {
		switch f.Name {
		case "have", "want", "jumps":
			saved, err := ruleset.Parse(bytes.NewReader(f.Data))
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			parts[f.Name] = saved.Rules
			got.Files = append(got.Files, f)
		}
	}
	have := parts["have"]
	var b delta.Batch
	if want, ok := parts["want"]; ok {
		b = delta.Between(have, want)
	} else {
		b = delta.Removal(have)
	}
	if _, ok := parts["jumps"]; ok {
		b = b.Attach(have, ruleset.Jumps(), nil)
	}
	add := func(name string, encode func(*bytes.Buffer) error) {
		var text bytes.Buffer
		if err := encode(&text); err != nil {
			fmt.Fprintf(&text, "%v\n", err)
		}
		got.Files = append(got.Files, txtar.File{Name: name, Data: text.Bytes()})
	}
	add("legacy, and nft while it is small", func(w *bytes.Buffer) error {
		n, err := b.Encode(w, ipproto.IPv4, delta.Legacy)
		if text := w.String(); err == nil && n != (delta.Written{Commits: strings.Count("\n"+text, "\nCOMMIT\n"), Bytes: int64(len(text))}) {
			t.Errorf("said to be %+v, but it is\n%s", n, text)
		}
		return err
	})
	add("nft in blocks of 2 chains", func(w *bytes.Buffer) error { return b.EncodeInBlocks(w, ipproto.IPv4, delta.NFT, 2) })
	if len(b.Held) > 0 {
		add("held", func(w *bytes.Buffer) error {
			for _, ref := range b.Held {
				fmt.Fprintf(w, "%v by %v: %s\n", ref.To, ref.From, ref.Rule.Text(ipproto.IPv4))
			}
			return nil
		})
	}
	small, err := b.Text(ipproto.IPv4, delta.NFT)
	if legacy, _ := b.Text(ipproto.IPv4, delta.Legacy); err == nil && !bytes.Equal(small, legacy) {
		t.Error("a small batch has another text for nft than for legacy")
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(txtar.Format(ar)), string(txtar.Format(got))); diff != "" && !*update {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

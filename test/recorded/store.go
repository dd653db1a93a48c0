package recorded

import (
	"compress/bzip2"
	"embed"
	"fmt"
	"io"
	"strings"

	"espalier/proxier/ipproto"
)

//go:embed testdata
var files embed.FS

// Rules are those of one family, as text: see the package's doc.
type Rules string

// Read returns the rules that were recorded for a cluster of some size.
func Read(size int, f ipproto.Family) (Rules, error) {
	file, err := files.Open(Path(size, f))
	if err != nil {
		return "", fmt.Errorf("read recorded rules: %w", err)
	}
	defer file.Close()
	var text strings.Builder
	if _, err := io.Copy(&text, bzip2.NewReader(file)); err != nil {
		return "", fmt.Errorf("read recorded rules of %s: %w", Path(size, f), err)
	}
	return listen(text.String(), size, f), nil
}

// Path is where the rules of a cluster are kept, compressed by bzip2, below the directory of this package.
func Path(size int, f ipproto.Family) string { return fmt.Sprintf("testdata/%d-%s.rules.bz2", size, f) }

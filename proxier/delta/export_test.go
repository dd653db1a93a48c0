package delta

import (
	"io"

	"espalier/proxier/ipproto"
)

// EncodeInBlocks is Encode with COMMITs so small that a test has many of them.
func (b Batch) EncodeInBlocks(w io.Writer, f ipproto.Family, s Strategy, chains int) error {
	_, err := b.encode(w, f, s, sizes{small: chains, fresh: chains, changed: chains, remove: chains})
	return err
}

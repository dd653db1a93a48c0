package report

import (
	"encoding/json"
	"io"
)

// WriteJSON prints everything, samples included. Times are in nanoseconds, sizes in bytes.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

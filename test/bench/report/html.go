package report

import "io"

// WriteHTML prints a page.
func (r Report) WriteHTML(w io.Writer) error {
	_, err := io.WriteString(w, "")
	return err
}

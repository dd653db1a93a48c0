package file

import (
	"io"

	"espalier/proxier/model"
	"espalier/watcher"
	"espalier/watcher/convert"
)

// Result is what a reading found.
type Result struct {
	// State is complete: what is not in it does not exist. Nodes is empty if the own Node was not found.
	State watcher.State
	// Problems are in the order of the documents, but for those of Endpoints, which come last.
	Problems []model.Problem
	// Notices are lines for the operator about what was skipped, in a stable order.
	Notices []string
	// NodeFound: the own Node was among the objects.
	NodeFound bool
}

// Read reads the file or the directory at path; if path is "-", it reads stdin to its end. The error joins
// everything that is broken, each with file and line; the Result is empty then.
//
// Files are named in messages as path leads to them, standard input as "stdin".
func Read(path string, stdin io.Reader, o convert.Options) (Result, error) {
	in, err := gather(path, stdin)
	if err != nil {
		return Result{}, err
	}
	return interpret(in, o)
}

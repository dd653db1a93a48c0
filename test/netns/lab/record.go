package lab

import (
	"bytes"
	"sync"
)

// Record keeps what a program writes to it, for readers on the way. The zero value is empty.
type Record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write adds to the record.
func (r *Record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

// String returns what was written so far.
func (r *Record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

package process

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// kept is how many bytes of a log are kept, at least: it is cut when it has twice as many.
const kept = 1 << 20

// Log keeps the last of what is written to it. The zero Log is ready, and may be written to by several processes, one
// after the other.
type Log struct {
	Also io.Writer // gets everything too, if it is not nil

	mu      sync.Mutex
	text    []byte
	cut     int64 // bytes that are not in text any more
	changed chan struct{}
}

// Write adds to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Also != nil {
		_, _ = l.Also.Write(p) // the log itself is what matters
	}
	l.text = append(l.text, p...)
	if len(l.text) > 2*kept {
		l.cut += int64(len(l.text) - kept)
		l.text = bytes.Clone(l.text[len(l.text)-kept:])
	}
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return len(p), nil
}

// Position is the end of the log as it is now.
func (l *Log) Position() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut + int64(len(l.text))
}

// Since returns what was written after a position, as far as it is still kept.
func (l *Log) Since(position int64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text[max(0, position-l.cut):])
}

// Await waits until a text was written after a position.
func (l *Log) Await(ctx context.Context, position int64, text string) error {
	for {
		l.mu.Lock()
		found := bytes.Contains(l.text[max(0, position-l.cut):], []byte(text))
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %q in a log: %w; it ends with\n%s", text, context.Cause(ctx), l.Tail(10))
		}
	}
}

// Tail returns the last lines.
func (l *Log) Tail(lines int) string {
	all := strings.SplitAfter(l.Since(0), "\n")
	return strings.Join(all[max(0, len(all)-lines-1):], "")
}

package events

import (
	"testing"
	"unicode/utf8"
)

// FuzzClip: whatever a note is made of, a protobuf message can hold it, and the API takes it.
func FuzzClip(f *testing.F) {
	f.Add("port taken", 1024)
	f.Add("ääää\xff\x00…", 5)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit < len("…") || limit > 2048 {
			return
		}
		got := clip(text, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Errorf("clip(%q, %d) = %q", text, limit, got)
		}
		if again := clip(got, limit); again != got {
			t.Errorf("clip(%q) = %q", got, again)
		}
	})
}

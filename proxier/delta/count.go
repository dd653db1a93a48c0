package delta

// Written is the size of restore input.
type Written struct {
	// Commits is the number of COMMITs. Each of them changes something, unless others did the same before.
	Commits int
	Bytes   int64
}

// Plus returns the size of both.
func (w Written) Plus(o Written) Written { return Written{w.Commits + o.Commits, w.Bytes + o.Bytes} }

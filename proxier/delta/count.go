package delta

// Commits returns how many COMMITs the batch is written in. Each of them changes something, unless others did the
// same before.
func (b Batch) Commits(s Strategy) int { return len(b.commits(s, b.sizes())) }

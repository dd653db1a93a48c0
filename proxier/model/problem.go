package model

// Problem is something wrong with one object that costs only that object, or a part of it: the rest of the
// cluster is programmed. It is a comparable value, so that each is reported once.
type Problem struct {
	// Object is kind and name as kubectl takes them: "Service shop/web".
	Object string
	// Text says what is wrong with which field, and what follows from it.
	Text string
}

// String returns "Service shop/web: …".
func (p Problem) String() string { return p.Object + ": " + p.Text }

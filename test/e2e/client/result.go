package client

import (
	"net/netip"
	"time"
)

// Result is one request as the one who asked saw it.
type Result struct {
	At     time.Time      `json:"at"` // when it was begun
	Took   time.Duration  `json:"took"`
	From   netip.AddrPort `json:"from,omitzero"`   // the own address and port
	To     netip.AddrPort `json:"to"`              // whom it asked
	Resent int            `json:"resent,omitzero"` // segments that TCP sent again
	Text   string         `json:"text,omitempty"`  // the answer
	Err    string         `json:"err,omitempty"`   // empty: it was answered
}

// Ended returns when the request was over.
func (r Result) Ended() time.Time { return r.At.Add(r.Took) }

// Failed returns the results with an error.
func Failed(results []Result) (failed []Result) {
	for _, r := range results {
		if r.Err != "" {
			failed = append(failed, r)
		}
	}
	return failed
}

// Resent counts the segments that TCP had to send again.
func Resent(results []Result) (n int) {
	for _, r := range results {
		n += r.Resent
	}
	return n
}

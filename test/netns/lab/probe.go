package lab

import (
	"fmt"
	"net/netip"
	"time"

	"espalier/proxier/ipproto"
)

// Probe is one attempt to reach something.
type Probe struct {
	From  Host
	Src   netip.Addr // must be routed to From, or be an address of the node
	To    netip.AddrPort
	Proto ipproto.Proto
}

// String returns "10.0.0.2 (pod) -> tcp 172.30.0.41:80".
func (p Probe) String() string { return fmt.Sprintf("%s (%s) -> %s %s", p.Src, p.From, p.Proto, p.To) }

// Verdict says how an attempt ended.
type Verdict uint8

// The verdicts.
const (
	Silent   Verdict = iota // nothing came back in time
	Answered                // a server answered
	Refused                 // ICMP "port unreachable", which is what REJECT sends
	Reset                   // TCP reset: a host got the packet and has nobody on that port
)

// String returns the verdict in one word.
func (v Verdict) String() string {
	return [...]string{"silence", "answered", "refused by ICMP", "reset"}[v]
}

// Observation is what an attempt met. Answer is set when it was answered.
type Observation struct {
	Verdict Verdict
	Answer  Answer
}

// String says what was seen.
func (o Observation) String() string {
	if o.Verdict == Answered {
		return fmt.Sprintf("answered by %s at %s, which saw %s", o.Answer.By, o.Answer.At, o.Answer.Peer)
	}
	return o.Verdict.String()
}

// Try makes one attempt, with a source port of its own, and waits for an outcome until the patience is over.
// The error is one of the lab; whatever the network does is an Observation.
func (l *Lab) Try(p Probe, patience time.Duration) (Observation, error) {
	var attempt func(Probe, time.Time) (Observation, error)
	switch p.Proto {
	case ipproto.TCP:
		attempt = l.tryTCP
	case ipproto.UDP:
		attempt = l.tryUDP
	case ipproto.SCTP:
		attempt = l.trySCTP
	}
	if attempt == nil {
		return Observation{}, fmt.Errorf("probe %s: no such protocol", p)
	}
	o, err := attempt(p, time.Now().Add(patience))
	if err != nil {
		return o, fmt.Errorf("probe %s: %w", p, err)
	}
	return o, nil
}

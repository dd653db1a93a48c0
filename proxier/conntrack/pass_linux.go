package conntrack

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// pass reads the table once.
func (t *Table) pass(ctx context.Context, filter bool, stale func(Flow) bool, done *Tally) (interrupted bool, err error) {
	p := pass{family: t.family, deletes: &t.deletes, stale: stale, tally: done, batch: make([]Flow, 0, pipelined)}
	of := t.family
	if !filter {
		of = ipproto.UnknownFamily
	}
	p.seq, err = t.dump.send(func(b []byte, seq uint32) []byte { return appendDump(b, of, filter, seq) })
	if err != nil {
		return false, fmt.Errorf("ask for the entries: %w", err)
	}
	buf := make([]byte, dumpBuffer)
	for !p.ended {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		rest, err := t.dump.receive(buf, 0)
		for err == nil && len(rest) > 0 && !p.ended {
			var h header
			var body []byte
			if h, body, rest, err = next(rest); err == nil {
				err = p.take(h, body)
			}
		}
		if err != nil {
			return false, fmt.Errorf("read the entries: %w", err)
		}
	}
	return p.interrupted, nil
}

// pass is one reading of the table.
type pass struct {
	family  ipproto.Family
	deletes *socket
	seq     uint32
	stale   func(Flow) bool
	tally   *Tally
	batch   []Flow // stale, and still there

	interrupted, ended bool
}

// take handles one message.
func (p *pass) take(h header, body []byte) error {
	if h.seq != p.seq {
		return nil
	}
	p.interrupted = p.interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
	switch h.kind {
	case unix.NLMSG_DONE, unix.NLMSG_ERROR:
		p.ended = true
		if err := errno(body); errors.Is(err, unix.EINTR) {
			p.interrupted = true
		} else if err != nil {
			return err
		}
		return p.flush()
	case msgNew:
		p.tally.Looked++
		f, ok := parseFlow(body)
		if !ok || ipproto.FamilyOf(f.Dst.Addr()) != p.family {
			return nil
		}
		p.tally.UDP++
		if !p.stale(f) {
			return nil
		}
		if p.batch = append(p.batch, f); len(p.batch) == cap(p.batch) {
			return p.flush()
		}
	}
	return nil
}

// flush deletes what has been collected.
func (p *pass) flush() error {
	if err := p.deletes.delete(p.batch); err != nil {
		return fmt.Errorf("delete %d of them: %w", len(p.batch), err)
	}
	p.tally.Deleted += len(p.batch)
	p.batch = p.batch[:0]
	return nil
}

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// ErrUnsupported means that the kernel has no access to conntrack over netlink.
var ErrUnsupported = errors.New("the kernel does not give access to conntrack: it lacks nf_conntrack_netlink, or did not load it")

// ErrPrivilege means that this process may not read or change conntrack.
var ErrPrivilege = errors.New("not permitted: it needs CAP_NET_ADMIN")

const (
	// passes is how often a table is read at most when the kernel says that it changed too much for a read to be
	// complete. What was read counts all the same.
	passes = 5
	// patience is how long the kernel may take for an answer, in seconds. It works on it before it returns from
	// the call, so that only a kernel that answers nothing takes it.
	patience = 10
	// pipelined is how many entries are deleted by one call. Answers of the kernel, about 800 bytes of memory each,
	// have to fit into the socket's buffer of 200 kB.
	pipelined = 128
	// dumpBuffer is the largest piece of a dump that the kernel sends (net/netlink/af_netlink.c, netlink_recvmsg).
	dumpBuffer = 32 << 10
)

// Table is the conntrack table of the network namespace in which it was opened. It is for one goroutine at a time.
type Table struct {
	family        ipproto.Family
	dump, deletes socket
}

// Tally is what a Sweep did.
type Tally struct {
	Entries int // that the table had, of all families and protocols
	Looked  int // that the kernel sent
	UDP     int // that were of UDP and of the family
	Deleted int // that were stale, and are gone
	Passes  int // over the table
}

// Open opens the table of one family. Whether it may be read shows when it is.
func Open(f ipproto.Family) (*Table, error) {
	t := &Table{family: f}
	var err error
	if t.dump, err = openSocket(); err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	if t.deletes, err = openSocket(); err != nil {
		_ = t.dump.close()
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	return t, nil
}

// Close closes the table.
func (t *Table) Close() error { return errors.Join(t.dump.close(), t.deletes.close()) }

// Sweep reads the table once, and deletes on the way the entries of UDP in the default zone that are stale. Last is what
// the last Sweep of the family found, if there was one.
//
// An error means that stale entries may be left. After an error the Table is of no use any more.
func (t *Table) Sweep(ctx context.Context, last Tally, stale func(Flow) bool) (Tally, error) {
	var done Tally
	err := untilComplete(func() (interrupted bool, err error) {
		if done.Entries, err = t.dump.count(); err != nil {
			return false, fmt.Errorf("count the entries: %w", err)
		}
		filter := filtered(done.Entries, last.UDP)
		interrupted, err = t.pass(ctx, filter, stale, &done)
		if refused(err) && filter && done.Looked == 0 {
			interrupted, err = t.pass(ctx, false, stale, &done)
		}
		done.Passes++
		return interrupted, err
	})
	if refused(err) && done.Looked == 0 {
		err = unsupported(err)
	}
	if err != nil {
		return done, fmt.Errorf("clean conntrack of %s: %w", t.family, privilege(err))
	}
	return done, nil
}

// filtered says whether the kernel is to send the entries of UDP and the family alone, of which there were so many the
// last time, or all.
//
// While it looks for one to send, it does nothing else on that processor, not even take packets from the network:
// softirqs are off until it has filled a message, which takes about 120 entries (ctnetlink_dump_table). Of a
// million entries of which none was to be sent, that took 236 ms (kernel 6.18), where sending all of them took 1.8 s
// during which it did not stall. Sending is therefore left away where the table is so small, or what is sent so much
// of it, that a stall is not longer than about 10 ms.
func filtered(entries, matching int) bool {
	const small, share = 40_000, 300
	return entries <= small || matching >= entries/share
}

// Delete deletes entries that have the same reply direction as these flows, or the opposite one of the original
// direction. There may be none.
func (t *Table) Delete(flows []Flow) error {
	for batch := range slices.Chunk(flows, pipelined) {
		if err := t.deletes.delete(batch); err != nil {
			return fmt.Errorf("delete %d entries of conntrack of %s: %w", len(batch), t.family, privilege(err))
		}
	}
	return nil
}

// untilComplete reads until that was not interrupted, or often enough: what was read counts all the same.
func untilComplete(read func() (interrupted bool, err error)) error {
	for range passes {
		if interrupted, err := read(); err != nil || !interrupted {
			return err
		}
	}
	return nil
}

// refused reports whether the kernel does not know what it was asked for: the filter, or conntrack at all.
func refused(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

func unsupported(err error) error { return fmt.Errorf("%w (%w)", ErrUnsupported, err) }

// privilege says what is missing where the kernel does not permit something.
func privilege(err error) error {
	if errors.Is(err, unix.EPERM) {
		return ErrPrivilege
	}
	return err
}

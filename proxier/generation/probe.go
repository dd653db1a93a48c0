package generation

import (
	"context"
	"fmt"
	"hash/maphash"

	"espalier/proxier/ipproto"
)

// A Probe reads Stamps of the network namespace in which it was opened. It is for one goroutine at a time.
type Probe struct {
	what string // for errors
	seed maphash.Seed
	kernel
}

// kernel is one of the two ways to ask.
type kernel interface {
	read() (Stamp, error)
	close() error
}

// OpenNFT opens a Probe for nf_tables; one serves both families. An error says why the kernel cannot be asked.
// Then the rules have to be read back from time to time instead. It needs CAP_NET_ADMIN.
func OpenNFT() (*Probe, error) { return open("ruleset generation of nf_tables", openNFT) }

// OpenLegacy opens a Probe for the tables of the legacy backend of one family: mangle, filter and nat, as far as
// they exist when it is read. Errors and privileges are as with OpenNFT.
func OpenLegacy(f ipproto.Family) (*Probe, error) {
	return open(fmt.Sprintf("size of the legacy tables of %v", f), func() (kernel, error) { return openLegacy(f) })
}

// open reads once, so that a Probe that can be had works.
func open(what string, how func() (kernel, error)) (*Probe, error) {
	k, err := how()
	if err != nil {
		return nil, fmt.Errorf("ask for the %s: %w", what, err)
	}
	p := &Probe{what: what, seed: maphash.MakeSeed(), kernel: k}
	if _, err := p.Read(context.Background()); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Read returns the Stamp of now. The kernel answers while it is asked, so there is nothing to wait for that ctx
// could cut short; a ctx that has ended is an error. An error leaves the Probe usable: the next Read may do well.
func (p *Probe) Read(ctx context.Context) (Stamp, error) {
	if err := ctx.Err(); err != nil {
		return Stamp{}, fmt.Errorf("ask for the %s: %w", p.what, err)
	}
	s, err := p.read()
	if err != nil {
		return Stamp{}, fmt.Errorf("ask for the %s: %w", p.what, err)
	}
	return s, nil
}

// Close gives up the sockets, which keep the namespace alive.
func (p *Probe) Close() error { return p.close() }

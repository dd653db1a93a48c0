package iptables

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// Detect says which backend the node uses, and by what evidence. A wish other than Auto is obeyed if its
// binaries are there.
func Detect(ctx context.Context, wish Backend) (b Backend, why string, err error) {
	e, err := Gather(ctx)
	if err != nil && wish == Auto {
		return Auto, "", err
	}
	return Choose(wish, e)
}

// Gather looks for evidence, and changes nothing: it does not make the kernel load a table.
func Gather(ctx context.Context) (Evidence, error) {
	var e Evidence
	var errs []error
	for _, b := range []Backend{NFT, Legacy} {
		found := &e.NFT
		if b == Legacy {
			found = &e.Legacy
		}
		for _, f := range ipproto.Families {
			errs = append(errs, found.look(ctx, f, b))
		}
	}
	if path, err := exec.LookPath("iptables"); err == nil {
		e.DefaultVersion, e.Default, err = askVersion(ctx, path)
		errs = append(errs, err)
	}
	return e, errors.Join(errs...)
}

// look adds what one family of a backend shows.
func (found *Found) look(ctx context.Context, f ipproto.Family, b Backend) error {
	k, err := Open(ctx, f, b)
	if err != nil {
		if f == ipproto.IPv4 { // IPv6 may be missing without harm
			found.Missing = err.Error()
		}
		return nil
	}
	if b == Legacy {
		if used, err := legacyInUse(f); err != nil || !used {
			return err
		}
	}
	err = read(ctx, k.SaveCommand, nil, found.count)
	if err != nil && f == ipproto.IPv4 {
		return fmt.Errorf("look for %v rules (%v): %w", f, b, err)
	}
	return nil
}

// count reads the output of iptables-save, of which it needs little.
func (found *Found) count(r io.Reader) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	mangle := false
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		case bytes.HasPrefix(line, []byte("*")):
			mangle = bytes.HasPrefix(line, []byte("*mangle"))
		case mangle && bytes.HasPrefix(line, []byte(":"+ruleset.KubeletHint+" ")):
			found.Hint = ruleset.KubeletHint
		case mangle && bytes.HasPrefix(line, []byte(":"+ruleset.KubeletCanary+" ")) && found.Hint == "":
			found.Hint = ruleset.KubeletCanary
		case bytes.HasPrefix(line, []byte("-A KUBE-")):
			found.Kube++
			found.Rules++
		case bytes.HasPrefix(line, []byte("-A ")):
			found.Rules++
		}
	}
}

// legacyInUse reports whether the legacy backend has a table of the family. Running one of its commands would
// make the kernel load one.
func legacyInUse(f ipproto.Family) (bool, error) {
	name := "ip_tables_names"
	if f == ipproto.IPv6 {
		name = "ip6_tables_names"
	}
	// Of the thread, not of the process: they differ where a thread entered another namespace.
	names, err := os.ReadFile("/proc/thread-self/net/" + name)
	switch {
	case errors.Is(err, fs.ErrNotExist): // not even the module is loaded
		return false, nil
	case errors.Is(err, fs.ErrPermission):
		return false, fmt.Errorf("ask for the legacy tables: %w: run as root", err)
	case err != nil:
		return false, fmt.Errorf("ask for the legacy tables: %w", err)
	}
	return len(bytes.TrimSpace(names)) > 0, nil
}

// Usable says for a family whether the node can be programmed in it.
type Usable struct {
	Family ipproto.Family
	// Kernel is nil if it cannot; Why then says why.
	Kernel *Kernel
	Why    string
}

// Families looks at each family by itself, in the order of ipproto.Families. A family that cannot be used is
// no error: that depends on what the operator wants.
func Families(ctx context.Context, b Backend) []Usable {
	var all []Usable
	for _, f := range ipproto.Families {
		u := Usable{Family: f}
		k, err := usable(ctx, f, b)
		if err != nil {
			u.Why = err.Error()
		} else {
			u.Kernel = k
		}
		all = append(all, u)
	}
	return all
}

func usable(ctx context.Context, f ipproto.Family, b Backend) (*Kernel, error) {
	if f == ipproto.IPv6 {
		if err := ipv6Enabled(os.DirFS("/proc")); err != nil {
			return nil, err
		}
	}
	k, err := Open(ctx, f, b)
	if err != nil {
		return nil, err
	}
	// Whether the kernel has NAT for the family shows only when one asks for the table.
	tool, err := k.tool()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", k.Command, err)
	}
	if _, err := tool.ListChains("nat"); err != nil {
		return nil, fmt.Errorf("the nat table of %v cannot be used: %w%s", f, err, hint(err.Error()))
	}
	return k, nil
}

// ipv6Enabled looks into /proc.
func ipv6Enabled(proc fs.FS) error {
	addrs, err := fs.ReadFile(proc, "thread-self/net/if_inet6")
	if err != nil {
		return errors.New("the kernel has no IPv6")
	}
	// Switched off for all interfaces; one for which it was switched on again has an address.
	off, err := fs.ReadFile(proc, "sys/net/ipv6/conf/all/disable_ipv6")
	if err == nil && strings.TrimSpace(string(off)) == "1" && len(bytes.TrimSpace(addrs)) == 0 {
		return errors.New("IPv6 is switched off (net.ipv6.conf.all.disable_ipv6 = 1)")
	}
	return nil
}

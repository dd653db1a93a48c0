package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"

	"espalier/proxier/ipproto"
)

// Open finds the binaries for the family and the backend, which must not be Auto: those that carry the backend
// in their names (iptables-nft-restore), else the plain ones if they are of that backend.
func Open(ctx context.Context, f ipproto.Family, b Backend) (*Kernel, error) {
	if b != NFT && b != Legacy {
		return nil, fmt.Errorf("open %v rules: no backend chosen", f)
	}
	k := &Kernel{Family: f, Backend: b}
	for _, part := range []struct {
		path   *string
		suffix string
	}{{&k.Command, ""}, {&k.SaveCommand, "-save"}, {&k.RestoreCommand, "-restore"}} {
		path, err := find(ctx, f, b, part.suffix)
		if err != nil {
			return nil, err
		}
		*part.path = path
	}
	tool, err := k.tool()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", k.Command, err)
	}
	k.Version = version(tool)
	if !tool.HasRandomFully() {
		return nil, fmt.Errorf("%s is version %s: 1.6.2 or newer is needed, for MASQUERADE --random-fully", k.Command, k.Version)
	}
	return k, nil
}

// tool is go-iptables for the plain command of this family and backend.
func (k *Kernel) tool() (*goiptables.IPTables, error) {
	proto := goiptables.ProtocolIPv4
	if k.Family == ipproto.IPv6 {
		proto = goiptables.ProtocolIPv6
	}
	return goiptables.New(goiptables.IPFamily(proto), goiptables.Timeout(5), goiptables.Path(k.Command))
}

func version(tool *goiptables.IPTables) string {
	major, minor, patch := tool.GetIptablesVersion()
	return fmt.Sprintf("%d.%d.%d", major, minor, patch)
}

// find returns the path of one binary.
func find(ctx context.Context, f ipproto.Family, b Backend, suffix string) (string, error) {
	named := base(f) + "-" + b.String() + suffix
	if path, err := exec.LookPath(named); err == nil {
		return path, nil
	}
	plain := base(f) + suffix
	path, err := exec.LookPath(plain)
	if err != nil {
		return "", &MissingError{Name: named, Instead: plain}
	}
	text, mode, err := askVersion(ctx, path)
	if err != nil {
		return "", err
	}
	if mode != b {
		return "", &MissingError{Name: named, Instead: plain, Is: text}
	}
	return path, nil
}

// MissingError says that a binary is not installed.
type MissingError struct {
	Name    string // what was looked for
	Instead string // what would do
	Is      string // what that says of itself, if it is there
}

func (e *MissingError) Error() string {
	what := fmt.Sprintf("neither %s nor %s is in PATH", e.Name, e.Instead)
	if e.Is != "" {
		what = fmt.Sprintf("%s is not in PATH, and %s is %q", e.Name, e.Instead, e.Is)
	}
	return what + `: install the package "iptables", or on Fedora and its kin "iptables-nft" or "iptables-legacy"`
}

// askVersion returns what a binary says of itself, and the backend that this means.
func askVersion(ctx context.Context, path string) (text string, b Backend, err error) {
	var out bytes.Buffer
	if err := read(ctx, path, []string{"--version"}, func(r io.Reader) error {
		_, err := out.ReadFrom(r)
		return err
	}); err != nil {
		return "", Auto, fmt.Errorf("ask for the version: %w", err)
	}
	text = strings.TrimSpace(out.String())
	b, err = parseVersion(text)
	return text, b, err
}

// parseVersion reads "iptables v1.8.9 (nf_tables)". Before 1.8 there was only one, without a word for it.
func parseVersion(text string) (Backend, error) {
	_, rest, ok := strings.Cut(text, " v")
	switch {
	case !ok || rest == "" || rest[0] < '0' || rest[0] > '9':
		return Auto, fmt.Errorf("%q is not a version of iptables", text)
	case strings.HasSuffix(rest, "(nf_tables)"):
		return NFT, nil
	case strings.HasSuffix(rest, "(legacy)"), !strings.Contains(rest, "("):
		return Legacy, nil
	}
	return Auto, fmt.Errorf("%q names no backend that is known", text)
}

// isMissing reports whether an error of Open says that the binaries are not there.
func isMissing(err error) bool {
	_, ok := errors.AsType[*MissingError](err)
	return ok
}

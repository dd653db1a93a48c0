package config

import (
	"fmt"
	"net"
	"strconv"

	"espalier/watcher/convert"
)

// word is the value of a flag whose words are checked later, together with everything else.
type word string

func (w *word) Set(s string) error { *w = word(s); return nil }
func (w *word) String() string     { return string(*w) }
func (w *word) Type() string       { return "string" }

// address is the value of a flag that wants an IP address. An empty one is ignored, as manifests make them of unset
// variables.
type address string

func (a *address) Set(s string) error {
	if s == "" {
		return nil
	}
	if _, err := convert.ParseAddr(s); err != nil {
		return err
	}
	*a = address(s)
	return nil
}

func (a *address) String() string { return string(*a) }
func (a *address) Type() string   { return "ip" }

// addressPort is the value of a flag that wants an IP address, with a port or without. An empty one is ignored.
type addressPort string

func (a *addressPort) Set(s string) error {
	if s == "" {
		return nil
	}
	if _, err := convert.ParseAddr(s); err == nil {
		*a = addressPort(s)
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = convert.ParseAddr(host)
	}
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is neither an IP address nor one with a port, like 0.0.0.0:10256 or [::]:10256; names of hosts are not possible", s)
	}
	*a = addressPort(s)
	return nil
}

func (a *addressPort) String() string { return string(*a) }
func (a *addressPort) Type() string   { return "ipport" }

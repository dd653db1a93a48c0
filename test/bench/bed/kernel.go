package bed

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os/exec"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The header of messages about nf_tables: struct nfgenmsg.
type nfgenmsg struct{ family, version uint8 }

func (m nfgenmsg) Len() int          { return 4 }
func (m nfgenmsg) Serialize() []byte { return []byte{m.family, m.version, 0, 0} }

func nftables(message, flags int) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|message, flags)
	request.AddData(nfgenmsg{family: unix.AF_UNSPEC})
	return request
}

// Generation returns how often anything of nf_tables has been committed on the node, or zero if the kernel does
// not say.
func (b *Bed) Generation() uint32 {
	var generation uint32
	_ = b.node().Do(func() error { // an error leaves zero
		messages, err := nftables(unix.NFT_MSG_GETGEN, 0).Execute(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN)
		if err != nil {
			return err
		}
		for _, m := range messages {
			generation = max(generation, generationOf(m))
		}
		return nil
	})
	return generation
}

// generationOf finds NFTA_GEN_ID, 1, among the attributes of a message.
func generationOf(message []byte) uint32 {
	if len(message) < 4 {
		return 0
	}
	attributes, err := nl.ParseRouteAttr(message[4:])
	if err != nil {
		return 0
	}
	for _, a := range attributes {
		if a.Attr.Type == 1 && len(a.Value) >= 4 {
			return binary.BigEndian.Uint32(a.Value)
		}
	}
	return 0
}

// Rules counts the rules on the node, of both families.
func (b *Bed) Rules() (int, error) {
	if b.Backend == "legacy" {
		return b.savedRules("iptables-legacy-save", "ip6tables-legacy-save")
	}
	rules := 0
	err := b.node().Do(func() error {
		request := nftables(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP)
		return request.ExecuteIter(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWRULE, func([]byte) bool {
			rules++
			return true
		})
	})
	if err != nil {
		return 0, fmt.Errorf("list the rules of nf_tables: %w", err)
	}
	return rules, nil
}

// savedRules counts the rules that programs print.
func (b *Bed) savedRules(programs ...string) (int, error) {
	rules := 0
	for _, name := range programs {
		counter := &lineCounter{prefix: []byte("-A ")}
		cmd := exec.Command(name)
		cmd.Stdout, cmd.Stderr, cmd.Env = counter, io.Discard, b.environment()
		if err := b.node().Do(cmd.Start); err != nil {
			return 0, fmt.Errorf("count rules with %s: %w", name, err)
		}
		if err := cmd.Wait(); err != nil {
			return 0, fmt.Errorf("count rules with %s: %w", name, err)
		}
		rules += counter.lines
	}
	return rules, nil
}

// lineCounter counts lines that begin with a prefix, however they are cut into writes.
type lineCounter struct {
	prefix []byte
	lines  int
	at     int  // how far into the prefix this line agrees
	no     bool // it did not
}

func (c *lineCounter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if c.no {
			end := bytes.IndexByte(p, '\n')
			if end < 0 {
				return n, nil
			}
			p, c.no, c.at = p[end+1:], false, 0
			continue
		}
		if p[0] != c.prefix[c.at] {
			c.no = true
			continue
		}
		p = p[1:]
		if c.at++; c.at == len(c.prefix) {
			c.lines++
			c.no = true
		}
	}
	return n, nil
}

package sysctl

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// RouteLocalnet is what lets packets to and from 127.0.0.0/8 leave the loopback interface, which node ports on localhost need.
// Neighbours on the same network can then reach what listens on 127.0.0.1, unless a rule forbids it (CVE-2020-8558).
func RouteLocalnet() Setting {
	return Setting{
		Path: "proc/sys/net/ipv4/conf/all/route_localnet", Value: 1,
		Instead: "--iptables-localhost-nodeports=false (iptables.localhostNodePorts: false), which closes node ports on 127.0.0.1",
	}
}

// ConntrackLiberal reports whether conntrack finds TCP packets valid that are out of the window. Where that cannot be
// read, it does not.
func (r Root) ConntrackLiberal() bool {
	n, err := r.Read(Liberal)
	return err == nil && n != 0
}

// SetOOMScore sets how readily the kernel ends this process when memory runs out: -1000 (never) to 1000. Less than what
// the process was started with needs CAP_SYS_RESOURCE.
func (r Root) SetOOMScore(score int) error {
	s := Setting{Path: "proc/self/oom_score_adj", Value: score}
	if _, done := r.is(s); done {
		return nil
	}
	if err := r.write(s); err != nil {
		return fmt.Errorf("set the OOM score to %d: %w", score, err)
	}
	return nil
}

// text returns the content of a file without the blanks around it.
func (r Root) text(path string) (string, error) {
	text, err := os.ReadFile(filepath.Join(string(r), path))
	return string(bytes.TrimSpace(text)), err
}

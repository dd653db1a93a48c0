package netns

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"espalier/test/netns/lab"
)

// nothingToDiffer: what the program wrote is what it would write; what somebody changed meanwhile is shown, and stays.
func nothingToDiffer(t *testing.T, s *site) {
	t.Helper()
	files, _ := basics()
	s.putAll(t, files)
	s.start(t)
	s.stop(t)
	if status, text := s.diff(t); status != 0 || text != "" {
		t.Errorf("status %d after a sync, and it shows\n%s", status, text)
	}
	s.on(t, "", s.kernel.Command, "-w", "5", "-t", "nat", "-D", "KUBE-MARK-MASQ", "1")
	before := s.saved(t)
	want := "@@ nat KUBE-MARK-MASQ @@\n+-A KUBE-MARK-MASQ -j MARK --or-mark 0x00004000\n"
	if status, text := s.diff(t); status != 1 || text != want {
		t.Errorf("status %d, and it shows\n%s\nwant 1 and\n%s", status, text, want)
	}
	if why := s.other(t, before); why != "" {
		t.Errorf("diff changed something: %s", why)
	}
	out, err := s.Host(lab.Node).Command(nil, s.program, "explain", "--iptables-backend", s.backend.String(), "--from", "10.0.0.2", "--to", "172.30.0.41:80")
	if err != nil || !strings.Contains(string(out), "DNAT to 10.180.1.1:80\n") {
		t.Errorf("explain: %v\n%s", err, out)
	}
}

// diff runs espalier diff on the node.
func (s *site) diff(t *testing.T) (status int, text string) {
	t.Helper()
	var out []byte
	err := s.Host(lab.Node).Do(func() (err error) {
		out, err = exec.Command(s.program, "diff", "--manifests", s.dir, "--hostname-override", nodeName,
			"--cluster-cidr", "10.0.0.0/8", "--iptables-backend", s.backend.String()).Output()
		return err
	})
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode(), string(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(out)
}

package convert

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseAddr(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1":            "10.0.0.1",
		"172.30.0.041":        "172.30.0.41",
		"192.168.099.022":     "192.168.99.22",
		"10.180.00.001":       "10.180.0.1",
		"000.0.0.00000":       "0.0.0.0",
		"100.10.200.0":        "100.10.200.0",
		"fd00:10::1":          "fd00:10::1",
		"FD00:0010:0:0::0001": "fd00:10::1",
		"::ffff:10.0.0.1":     "10.0.0.1",
		"::ffff:010.0.0.1":    "10.0.0.1",
		"64:ff9b::10.0.0.01":  "64:ff9b::a00:1",
		"::":                  "::",
		// Refused.
		"": "", "10.0.0": "", "10.0.0.256": "", "10.0.0.0x1": "", "10.0.0.1.": "", "10..0.1": "", ".10.0.1": "",
		"10.0.0.-1": "", " 10.0.0.1": "", "10.0.0.1/24": "", "fe80::1%eth0": "", "::ffff:10.0.0": "", "web": "",
		"10.0.0.01\n": "", "0": "", "1:2": "",
	} {
		got, err := ParseAddr(in)
		if want == "" {
			if err == nil {
				t.Errorf("ParseAddr(%q) is %v, want an error", in, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("ParseAddr(%q) is %v and %v, want %s", in, got, err, want)
		}
	}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"203.0.113.0/25":       "203.0.113.0/25",
		"203.0.113.000/025":    "203.0.113.0/25",
		"1.2.3.4/28":           "1.2.3.0/28",
		"1.2.3.4/32":           "1.2.3.4/32",
		"0.0.0.0/0":            "0.0.0.0/0",
		"1.2.3.4/000":          "0.0.0.0/0",
		"fd00:10::5/64":        "fd00:10::/64",
		"::/0":                 "::/0",
		"::ffff:10.0.0.0/104":  "10.0.0.0/8",
		"::ffff:10.0.0.1/0128": "10.0.0.1/32",
		// Refused.
		"": "", "10.0.0.1": "", "10.0.0.0/": "", "/8": "", "10.0.0.0/33": "", "10.0.0.0/-1": "", "10.0.0.0/+8": "",
		"10.0.0.0/8/8": "", "fd00::/129": "", "fe80::%eth0/64": "", "10.0.0.0/8 ": "", "10.0.0.0/99999999999999999999": "",
	} {
		got, err := ParsePrefix(in)
		if want == "" {
			if err == nil {
				t.Errorf("ParsePrefix(%q) is %v, want an error", in, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("ParsePrefix(%q) is %v and %v, want %s", in, got, err, want)
		}
	}
}

// FuzzParse checks that the tolerant parsers accept whatever the strict ones do, with the same result, and
// that what they accept is canonical.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "172.30.0.041", "::ffff:10.0.0.1", "1.2.3.4/28", "fd00::/64", "::ffff:10.0.0.0/104"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := ParseAddr(s)
		if strict, strictErr := netip.ParseAddr(s); strictErr == nil && strict.Zone() == "" && addr != strict.Unmap() {
			t.Errorf("ParseAddr(%q) is %v and %v, want %v", s, addr, err, strict)
		}
		if err == nil && (addr.Is4In6() || addr.Zone() != "" || netip.MustParseAddr(addr.String()) != addr) {
			t.Errorf("ParseAddr(%q) is %v, which is not canonical", s, addr)
		}
		prefix, err := ParsePrefix(s)
		if strict, strictErr := netip.ParsePrefix(s); strictErr == nil && !strict.Addr().Is4In6() && prefix != strict.Masked() {
			t.Errorf("ParsePrefix(%q) is %v and %v, want %v", s, prefix, err, strict.Masked())
		}
		if err == nil && (prefix != prefix.Masked() || prefix.Addr().Is4In6() || !strings.Contains(s, "/")) {
			t.Errorf("ParsePrefix(%q) is %v, which is not canonical", s, prefix)
		}
	})
}

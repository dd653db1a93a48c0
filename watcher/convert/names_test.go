package convert

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// TestNamesAsTheAPI compares with what the API server does.
func TestNamesAsTheAPI(t *testing.T) {
	for _, name := range []string{
		"", "a", "0", "-", "a-", "-a", "a-b", "A", "a_b", "a b", "ä", "a\n", "\"", ".", "a.b", "a..b", ".a", "a.", "a.-b", "a.b-c.d",
		strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 253), strings.Repeat("a", 254), strings.Repeat("a.", 126) + "b",
	} {
		if got, want := isLabel(name), len(validation.IsDNS1123Label(name)) == 0; got != want {
			t.Errorf("%q is a label: %v, want %v", name, got, want)
		}
		if got, want := isSubdomain(name), len(validation.IsDNS1123Subdomain(name)) == 0; got != want {
			t.Errorf("%q is a subdomain: %v, want %v", name, got, want)
		}
	}
}

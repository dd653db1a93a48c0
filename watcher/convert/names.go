package convert

import "strings"

// What names must look like, for messages.
const (
	wantLabel     = "want at most 63 of a-z, 0-9 and -, with a letter or digit at both ends"
	wantSubdomain = "want at most 253 of a-z, 0-9, - and ., with a letter or digit at both ends of each part"
)

// isLabel reports whether the name is a DNS label as in RFC 1123, which Services, namespaces and ports have.
func isLabel(name string) bool { return len(name) <= 63 && isPart(name) }

// isSubdomain reports whether the name is a DNS subdomain as in RFC 1123, which most other objects have. The
// API does not limit the length of its parts.
func isSubdomain(name string) bool {
	if len(name) > 253 {
		return false
	}
	for part := range strings.SplitSeq(name, ".") {
		if !isPart(part) {
			return false
		}
	}
	return true
}

func isPart(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && s[0] != '-' && s[len(s)-1] != '-'
}

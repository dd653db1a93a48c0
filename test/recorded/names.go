package recorded

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"regexp"
	"strings"

	"espalier/proxier/ipproto"
)

// Names of chains end in hashes, which do not compress, and 10,000 Services have 35,000 of them. So rules are kept with
// words in their place that say what was hashed: %12.1 is port 1 of Service 12, %12.1.3 is its endpoint 3. A hash that
// is not of the cluster stays as it is, so nothing depends on knowing them all.

// hash is how kube-proxy makes a name of words (pkg/proxy/iptables/proxier.go, portProtoHash and endpointHash). It is
// not that of package ruleset, which it is to be compared with.
func hash(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "")))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}

// spoken returns the words for all hashes of a cluster in a family.
func spoken(cluster []Service, f ipproto.Family) map[string]string {
	words := map[string]string{}
	for _, s := range cluster {
		for i, p := range s.Ports {
			port := s.Namespace + "/" + s.Name + ":" + p.Name + p.Proto.String()
			word := fmt.Sprintf("%%%d.%d", s.Number, i)
			words[hash(port)] = word
			for e := range s.Endpoints {
				at := fmt.Sprintf("%s:%d", s.Endpoint(f, e), p.Port)
				if f == ipproto.IPv6 {
					at = fmt.Sprintf("[%s]:%d", s.Endpoint(f, e), p.Port)
				}
				words[hash(port, at)] = fmt.Sprintf("%s.%d", word, e)
			}
		}
	}
	return words
}

var hashed = regexp.MustCompile(`\bKUBE-(?:SVC|SVL|EXT|FW|SEP)-([A-Z2-7]{16})\b`)

// Kept returns the rules of a cluster as they are kept, before they are compressed: with words in the place of hashes, and
// without what each rule of a chain begins with.
func (r Rules) Kept(size int, f ipproto.Family) (string, error) {
	text := speak(r, size, f)
	if listen(text, size, f) != r {
		return "", fmt.Errorf("keep %s rules of %d Services: they would be read as others", f, size)
	}
	return text, nil
}

func speak(rules Rules, size int, f ipproto.Family) string {
	words := spoken(Cluster(size), f)
	text := hashed.ReplaceAllStringFunc(string(rules), func(name string) string {
		start, hash := name[:len(name)-16], name[len(name)-16:]
		if word, known := words[hash]; known {
			return start + word
		}
		return name
	})
	var b strings.Builder
	for line := range strings.Lines(text) {
		if _, rule, is := strings.Cut(line, " "); is && strings.HasPrefix(line, "-A ") {
			_, line, _ = strings.Cut(rule, " ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// listen is the inverse of speak.
func listen(text string, size int, f ipproto.Family) Rules {
	var b strings.Builder
	chain := ""
	for line := range strings.Lines(text) {
		switch {
		case line[0] == ':':
			chain, _, _ = strings.Cut(line[1:], " ")
		case line[0] != '*' && line != "COMMIT\n":
			b.WriteString("-A " + chain + " ")
		}
		b.WriteString(line)
	}
	return Rules(unword(b.String(), spoken(Cluster(size), f)))
}

// unword puts hashes in the place of words. A regular expression would take seconds for the longest text.
func unword(text string, words map[string]string) string {
	hashes := make(map[string]string, len(words))
	for h, word := range words {
		hashes[word] = h
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "%")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if end < 0 {
			end = len(rest)
		}
		if h, known := hashes["%"+rest[:end]]; known {
			b.WriteString(h)
		} else {
			b.WriteString("%" + rest[:end])
		}
		text = rest[end:]
	}
}

package generation

import (
	"fmt"
	"strings"
	"testing"

	"espalier/proxier/ipproto"
)

// Asking costs the same whatever there is.
func BenchmarkRead(b *testing.B) {
	for _, backend := range []backend{nft, legacy} {
		for _, rules := range []int{0, 50_000} {
			b.Run(fmt.Sprintf("%s/rules=%d", tool(ipproto.IPv4, backend), rules), func(b *testing.B) {
				enterNamespace(b)
				p := openProbe(b, ipproto.IPv4, backend)
				input := strings.Repeat("-A A -p tcp -j RETURN\n", rules)
				for _, table := range tables {
					_, err := try(fmt.Sprintf("*%v\n:A - [0:0]\n%sCOMMIT\n", table, input), tool(ipproto.IPv4, backend)+"-restore --noflush")
					if err != nil {
						b.Fatal(err)
					}
					input = ""
				}
				b.ReportAllocs()
				for b.Loop() {
					read(b, p)
				}
			})
		}
	}
}

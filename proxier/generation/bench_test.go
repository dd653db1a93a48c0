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

// A Print costs what the tables are long.
func BenchmarkPrint(b *testing.B) {
	for _, rules := range []int{1000, 50_000} {
		b.Run(fmt.Sprintf("rules=%d", rules), func(b *testing.B) {
			enterNamespace(b)
			p := openProbe(b, ipproto.IPv4, legacy)
			input := strings.Repeat("-A A -p tcp -m tcp --dport 80 -m comment --comment shop/web -j RETURN\n", rules)
			if _, err := try("*nat\n:A - [0:0]\n"+input+"COMMIT\n", tool(ipproto.IPv4, legacy)+"-restore --noflush"); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				readPrint(b, p)
			}
		})
	}
}

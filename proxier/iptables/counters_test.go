package iptables

import "testing"

func TestParseCounted(t *testing.T) {
	for _, test := range []struct {
		name, line string
		want       Counted
		ok         bool
	}{
		{
			"a comment with blanks",
			`[7:420] -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-X`,
			Counted{"KUBE-SERVICES", "default/kubernetes:https cluster IP", 7, 420}, true,
		},
		{"one without", `[1:60] -A KUBE-NODEPORTS -p tcp -m comment --comment shop/web -m tcp --dport 30080 -j KUBE-EXT-X`, Counted{"KUBE-NODEPORTS", "shop/web", 1, 60}, true},
		{"the other backend's order", `[0:0] -A X -p tcp -m tcp --dport 80 -m comment --comment "a/b cluster IP" -j Y`, Counted{"X", "a/b cluster IP", 0, 0}, true},
		{"no port", `[1:60] -A KUBE-FW-X -s 10.0.0.0/8 -m comment --comment "shop/web loadbalancer IP" -j KUBE-EXT-X`, Counted{}, false},
		{"no comment", `[1:60] -A X -p tcp -m tcp --dport 80 -j Y`, Counted{}, false},
		{"no counters", `-A X -p tcp -m tcp --dport 80 -m comment --comment x -j Y`, Counted{}, false},
		{"a chain", `:KUBE-SERVICES - [7:420]`, Counted{}, false},
		{"a comment without an end", `[1:60] -A X -m tcp --dport 80 -m comment --comment "x`, Counted{}, false},
		{"numbers that are none", `[a:60] -A X -m tcp --dport 80 -m comment --comment x -j Y`, Counted{}, false},
		{"nothing", ``, Counted{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseCounted(test.line)
			if ok != test.ok || ok && got != test.want {
				t.Errorf("got %+v, %v; want %+v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}

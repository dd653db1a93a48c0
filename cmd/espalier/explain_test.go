package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const shop = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.4.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.1.9]}, {addresses: [10.244.2.4]}]
---
apiVersion: v1
kind: Service
metadata: {name: none, namespace: shop}
spec: {clusterIP: 10.96.4.2, ports: [{port: 80}]}
`

func TestExplainSaysWhatBecomesOfAPacket(t *testing.T) {
	for _, test := range []struct {
		name string
		args string
		want []string
		not  string
	}{
		{"a pod", "--from 10.244.0.9 --to 10.96.4.1:80",
			[]string{"10.244.0.9 to 10.96.4.1:80 (tcp)", "DNAT to 10.244.1.9:8080 (50 %)\n", "DNAT to 10.244.2.4:8080 (50 %)\n", "KUBE-SERVICES 2"}, "masqueraded"},
		{"somebody else", "--from 192.168.1.9 --to 10.96.4.1:80", []string{"DNAT to 10.244.1.9:8080, masqueraded (50 %)"}, ""},
		{"a process of the node", "--from 127.0.0.1 --to 10.96.4.1:80", []string{"a process of this node", "OUTPUT 1"}, "PREROUTING"},
		{"a Service without endpoints", "--from 10.244.0.9 --to 10.96.4.2:80", []string{"REJECT\n", "has no endpoints"}, "DNAT to"},
		{"an unused port", "--from 10.244.0.9 --to 10.96.4.1:81", []string{"no rule takes it"}, "DNAT to"},
		{"another protocol", "--from 10.244.0.9 --to 10.96.4.1:80 --protocol udp", []string{"(udp)", "no rule takes it"}, "DNAT to"},
		{"IPv6", "--from fd00::9 --to [fd00:10:96::1]:80", []string{"no rule takes it"}, "DNAT to"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"explain", "--manifests=-", "--hostname-override=n1", "--cluster-cidr=10.244.0.0/16"}, strings.Fields(test.args)...)
			stdout, _, err := execute(t, shop, args...)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range test.want {
				if !strings.Contains(stdout, part) {
					t.Errorf("it does not say %q:\n%s", part, stdout)
				}
			}
			if test.not != "" && strings.Contains(stdout, test.not) {
				t.Errorf("it says %q:\n%s", test.not, stdout)
			}
		})
	}
}

func TestExplainShowsThePathToEachEndpointIfAsked(t *testing.T) {
	args := []string{"explain", "--manifests=-", "--from=10.244.0.9", "--to=10.96.4.1:80"}
	one, _, err := execute(t, shop, args...)
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := execute(t, shop, append(args, "--all")...)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(one, "--to-destination 10.244.2.4:8080") || !strings.Contains(all, "--to-destination 10.244.2.4:8080") {
		t.Errorf("without --all:\n%s\nwith it:\n%s", one, all)
	}
}

func TestExplainRefusesWhatIsNoPacket(t *testing.T) {
	for args, want := range map[string]string{
		"--from here --to 10.96.4.1:80":                    `--from: "here"`,
		"--from 10.0.0.1 --to 10.96.4.1":                   `--to: "10.96.4.1"`,
		"--from 10.0.0.1 --to 10.96.4.1:80 --protocol ipx": "--protocol",
		"--from 10.0.0.1 --to [fd00::1]:80":                "not of the same IP family",
		"":                                                 "--from",
	} {
		_, _, err := execute(t, shop, append([]string{"explain", "--manifests=-"}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", args, err, want)
		}
	}
}

func TestAnErrorOfDiffIsNotTakenForADifference(t *testing.T) {
	_, _, err := execute(t, "", "diff", "--manifests=/nonexistent/shop.yaml", "--ip-family=ipx")
	if status, text := ending(err); status != 2 || !strings.Contains(text, "--ip-family") {
		t.Errorf("status %d, %q; want 2 and the reason", status, text)
	}
	for _, test := range []struct {
		err    error
		status int
		text   string
	}{
		{nil, 0, ""},
		{errors.New("a\nb"), 1, "error: a\n       b\n"},
		{&exit{status: 1}, 1, ""},
		{&exit{2, errors.New("a")}, 2, "error: a\n"},
	} {
		if status, text := ending(test.err); status != test.status || text != test.text {
			t.Errorf("%v ends with %d, %q; want %d, %q", test.err, status, text, test.status, test.text)
		}
	}
}

// Flags that are not of the configuration, like --to, count beside a file, too.
func TestExplainWithAConfigurationFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.conf")
	file := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.244.0.0/16\n"
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := execute(t, shop, "explain", "--config="+path, "--manifests=-", "--hostname-override=n1", "--from=192.168.1.9", "--to=10.96.4.1:80")
	if err != nil || !strings.Contains(stdout, "masqueraded") || strings.Contains(stderr, "ignored") {
		t.Errorf("error %v, on stderr:\n%son stdout:\n%s", err, stderr, stdout)
	}
}

// Package netns proves with real packets that the rules do what Kubernetes promises of Services.
//
// Its tests read manifests as espalier does, plan, write the rules into the kernel of a lab (see package lab),
// and send packets. The tables are those of kube-proxy's iptables mode (pkg/proxy/iptables/proxier_test.go),
// plus what only a real kernel can show. Each row has a name:
//
//	go test ./test/netns -run 'Flows/nft/ipv4/M19'
//
// Everybody who may make network namespaces can run them: root, or any user under "unshare -rn". A test that
// cannot run says so and is skipped; with NETNS=1 in the environment it fails instead.
//
// The package knows what goes in (objects) and what comes out (packets). It does not know the shape of the rules.
package netns

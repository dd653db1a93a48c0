package iptables

// For tests in package iptables_test.
var (
	RefusedLine  = refusedLine
	ParseVersion = parseVersion
	IPv6Enabled  = ipv6Enabled
)

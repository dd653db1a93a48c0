#!/bin/sh
# Loads each *.rules file into a fresh network namespace with both backends and keeps what iptables-save prints.
# Needs root, iptables with both backends, and iproute2.
set -eu
cd "$(dirname "$0")"
ns=ruleset-capture-$$
trap 'ip netns del $ns 2>/dev/null || true' EXIT
for rules in *.rules; do
	name=${rules%.rules}
	tool=iptables
	case $name in *.ipv6) tool=ip6tables ;; esac
	for backend in nft legacy; do
		ip netns add $ns
		ip netns exec $ns $tool-$backend-restore -w 5 --noflush <"$rules"
		ip netns exec $ns $tool-$backend-save >"$name.$backend.save"
		ip netns del $ns
	done
done

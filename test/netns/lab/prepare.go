package lab

import (
	"maps"
	"slices"
)

// Prepare sets what must be set before the first interface appears, and sets lo up.
func (ns *Namespace) Prepare(router bool) error {
	settings := map[string]string{
		"ipv6/conf/all/disable_ipv6":     "0",
		"ipv6/conf/default/disable_ipv6": "0",
		"ipv6/conf/default/accept_dad":   "0", // or the first seconds of every address are lost
		"ipv4/conf/all/rp_filter":        "0",
		"ipv4/conf/default/rp_filter":    "0",
	}
	if router {
		maps.Copy(settings, map[string]string{
			"ipv4/ip_forward":                  "1",
			"ipv6/conf/all/forwarding":         "1",
			"ipv4/conf/all/send_redirects":     "0",
			"ipv4/conf/default/send_redirects": "0",
			// Every REJECT must be heard: limits for each destination and for all together count only messages whose
			// type is in the mask. 255 is a type that nobody sends.
			"ipv4/icmp_ratemask":  "0",
			"ipv6/icmp/ratemask":  "255",
			"ipv6/icmp/ratelimit": "0",
		})
	}
	for _, path := range slices.Sorted(maps.Keys(settings)) {
		if err := ns.Sysctl(path, settings[path]); err != nil {
			return err
		}
	}
	_, err := ns.SetUp("lo")
	return err
}

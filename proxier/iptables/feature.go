package iptables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"espalier/proxier/ruleset"
)

// A Feature is something that rules use and a kernel, or the iptables on it, may lack.
type Feature string

// The features, by the names of the matches and targets.
const (
	Recent    Feature = "recent"
	Statistic Feature = "statistic"
	AddrType  Feature = "addrtype"
	Reject    Feature = "REJECT"
)

// Features are all of them.
var Features = [...]Feature{Recent, Statistic, AddrType, Reject}

// rule returns a rule that uses the feature, and the table that it can be in.
func (f Feature) rule() (ruleset.Table, ruleset.Rule) {
	switch f {
	case Recent:
		return ruleset.Nat, ruleset.Rule{Recent: ruleset.Recent{List: ruleset.PrefixEndpoint + "PROBE", Check: true, Seconds: 1}}
	case Statistic:
		return ruleset.Nat, ruleset.Rule{Share: ruleset.OneIn(2)}
	case AddrType:
		return ruleset.Nat, ruleset.Rule{DstLocal: true}
	case Reject:
		return ruleset.Filter, ruleset.Rule{Jump: ruleset.Reject}
	}
	return ruleset.Nat, ruleset.Rule{}
}

// Lacks returns which features the kernel lacks, and why that is believed: each is loaded into a scratch chain, which
// is removed again. It is worth to be asked when rules were refused. An error means that nothing can be said, as not
// even a rule without any feature can be loaded.
func (k *Kernel) Lacks(ctx context.Context) (map[Feature]string, error) {
	byTable := map[ruleset.Table][]ruleset.Rule{}
	for _, f := range Features {
		t, r := f.rule()
		byTable[t] = append(byTable[t], r)
	}
	lacks := map[Feature]string{}
	for t, rules := range byTable {
		if k.try(ctx, t, rules...) == nil {
			continue
		}
		if err := k.try(ctx, t, ruleset.Rule{Comment: "probe"}); err != nil {
			return nil, fmt.Errorf("load a rule into a scratch chain of table %v: %w", t, err)
		}
		for _, f := range Features {
			in, r := f.rule()
			if in != t {
				continue
			}
			why, err := k.refused(ctx, t, r)
			if err != nil {
				return nil, fmt.Errorf("probe %s: %w", f, err)
			}
			if why != "" {
				lacks[f] = why
			}
		}
	}
	return lacks, nil
}

// refused returns why the kernel refuses a rule, or nothing; an error if it cannot be told.
func (k *Kernel) refused(ctx context.Context, t ruleset.Table, r ruleset.Rule) (why string, err error) {
	err = k.try(ctx, t, r)
	if err == nil {
		return "", nil
	}
	refused, ok := errors.AsType[*RestoreError](err)
	if !ok || IsLockBusy(err) {
		return "", err
	}
	// Of the legacy tool one learns no more than that the COMMIT was refused.
	return strings.TrimSuffix(fmt.Sprintf("the kernel refuses %q: %s", r.Text(k.Family), refused.Reason()), ": "), nil
}

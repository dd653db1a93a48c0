package bench

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// firstPackets connects to an endpoint and to Services in turn, so that whatever else the machine does meanwhile
// meets both.
func (r *run) firstPackets(ctx context.Context) (string, error) {
	const most = 2000
	targets := r.sample(most)
	deadline := time.Now().Add(r.Duration)
	direct, service := &r.result.Direct, &r.result.Service
	for i := range most {
		if ctx.Err() != nil || time.Now().After(deadline) {
			break
		}
		for _, one := range []struct {
			to   netip.AddrPort
			into *[]time.Duration
		}{{r.cluster.Endpoint, &direct.Samples}, {targets[i%len(targets)], &service.Samples}} {
			reply, err := r.bed.Dial(one.to)
			if err != nil {
				service.Missed = err.Error()
				continue
			}
			*one.into = append(*one.into, reply.Took)
		}
	}
	return fmt.Sprintf("direct p50 %s, Service p50 %s", direct.Quantile(.5).Took, service.Quantile(.5).Took), nil
}

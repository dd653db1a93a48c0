package bench

import (
	"context"
	"errors"
	"time"
)

// repair empties the nat table, as an operator does by mistake, and waits until all Services answer again.
func (r *run) repair(ctx context.Context) (string, error) {
	if err := r.settle(ctx); err != nil {
		return "", err
	}
	if err := r.bed.Iptables(ctx, "-w", "-t", "nat", "-F"); err != nil {
		return "", err
	}
	begin := time.Now()
	if few := r.sample(16); len(r.silent(few)) == 0 {
		r.result.Repair.Missed = "nothing to notice"
		return r.result.Repair.Missed, nil
	}
	last, err := r.allAnswer(ctx, r.RepairPatience)
	r.result.Repair = ended(begin, last, err, r.RepairPatience)
	if errors.Is(err, errLate) {
		return r.result.Repair.Missed, nil
	}
	return r.result.Repair.Took.String(), err
}

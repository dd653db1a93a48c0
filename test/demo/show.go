package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A show is one performance of the demo: the stage, who stands on it, and the parts in their order.
type show struct {
	cfg     config
	out     *screen
	began   time.Time
	dir     string // temporary; manifests and espalier's log
	site    *site
	cluster *cluster
	proxy   *process // espalier; nil: not running
	traffic *traffic // nil: none
}

func newShow(cfg config, out *screen) (*show, error) {
	dir, err := os.MkdirTemp("", "espalier-demo-")
	if err != nil {
		return nil, err
	}
	s := &show{cfg: cfg, out: out, began: time.Now(), dir: dir}
	if err := os.Mkdir(s.manifests(), 0o755); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *show) manifests() string { return filepath.Join(s.dir, "shop") }
func (s *show) log() string       { return filepath.Join(s.dir, "espalier.log") }

// play goes through all parts and stops at the first that does not go as promised.
func (s *show) play(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		s.buildSite,
		s.openShop,
		s.startEspalier,
		s.sendRequests,
		s.showRules,
		s.scaleUp,
		s.losePod,
		s.stopEspalier,
		s.restartEspalier,
		s.balance,
		s.cleanUp,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// explain prints the end of espalier's log, after something went wrong.
func (s *show) explain() {
	text, err := os.ReadFile(s.log())
	if err != nil || len(text) == 0 {
		return
	}
	const end = 4000
	s.out.say("")
	s.out.say("The end of espalier's log:")
	_, _ = s.out.w.Write(text[max(0, len(text)-end):])
}

// close ends everything that still runs and makes sure that nothing stays behind.
func (s *show) close() error {
	s.out.step("Cleaning up")
	var spaces []uint64
	for _, m := range s.machines() {
		spaces = append(spaces, m.inode)
	}
	if s.traffic != nil {
		s.traffic.proc.kill()
	}
	if s.proxy != nil {
		_ = s.proxy.terminate(patience) // what it has to say was said before
	}
	if s.cluster != nil {
		s.cluster.close()
	}
	if s.site != nil {
		s.site.close()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove the manifests: %w", err)
	}
	left, err := inhabitants(spaces)
	if err != nil {
		return err
	}
	return s.out.promise(len(left) == 0, "%d namespaces made and gone, with their rules, interfaces and processes; left behind: %v", len(spaces), nothing(left))
}

func nothing(left []string) any {
	if len(left) == 0 {
		return "nothing"
	}
	return left
}

// machines lists all that exist now.
func (s *show) machines() []*machine {
	var all []*machine
	if s.site != nil {
		all = append(all, s.site.node, s.site.client)
	}
	if s.cluster != nil {
		for _, a := range s.cluster.apps {
			for _, p := range a.pods {
				all = append(all, p.machine)
			}
		}
	}
	return slices.DeleteFunc(all, func(m *machine) bool { return m == nil })
}

// app finds one of the shop's apps.
func (s *show) app(name string) *app {
	i := slices.IndexFunc(s.cluster.apps, func(a *app) bool { return a.name == name })
	return s.cluster.apps[i]
}

package wire

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"espalier/test/netns/lab"
)

// awaitUp returns when an interface passes packets on. The kernel gets round to that some time after the link is there,
// up to a second if it is not one half of a pair (linkwatch_event in net/core/link_watch.c), and drops everything until
// then: a first SYN would be lost now and then.
func awaitUp(ns *lab.Namespace, name string) error {
	// The subscription sends what exists at first, so that nothing falls in between. The library's goroutine ends when
	// done is closed and it can deliver what it has, for which there is room.
	updates, done := make(chan netlink.LinkUpdate, 1024), make(chan struct{})
	defer close(done)
	err := ns.Do(func() error {
		return netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ListExisting: true})
	})
	if err != nil {
		return fmt.Errorf("watch the interfaces of %s: %w", ns.Name, err)
	}
	const patience = 10 * time.Second
	tooLate := time.After(patience)
	for {
		select {
		case u, ok := <-updates:
			if !ok {
				return fmt.Errorf("watch the interfaces of %s: the kernel ended it", ns.Name)
			}
			if a := u.Attrs(); a.Name == name && a.OperState == netlink.OperUp {
				return nil
			}
		case <-tooLate:
			return fmt.Errorf("%s of %s is not up after %s", name, ns.Name, patience)
		}
	}
}

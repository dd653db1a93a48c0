package wire

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"espalier/test/netns/lab"
)

// AddAddrs gives the host more addresses on the LAN.
func (h *Host) AddAddrs(addrs []netip.Prefix) error {
	_, err := h.SetUp(lanLink, addrs...)
	return err
}

// RemoveAddrs takes addresses away that AddAddrs gave.
func (h *Host) RemoveAddrs(addrs []netip.Prefix) error {
	link, err := h.Links().LinkByName(lanLink)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", lanLink, h.Name, err)
	}
	for _, a := range addrs {
		ip := lab.IPNet(a)
		ip.IP = a.Addr().AsSlice()
		if err := h.Links().AddrDel(link, &netlink.Addr{IPNet: ip, Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("take %s from %s: %w", a, h.Name, err)
		}
	}
	return nil
}

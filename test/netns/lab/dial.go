package lab

import (
	"context"
	"net"
)

// DialContext connects as net.Dialer does, from inside the namespace.
func (ns *Namespace) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = ns.Go(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

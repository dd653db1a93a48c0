package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// askHTTP makes a connection and sends one request over it.
func (o options) askHTTP(ctx context.Context) (Result, error) {
	conn, from, err := dial(ctx, o.to)
	r := Result{From: from}
	if err != nil {
		return r, err
	}
	defer conn.Close()
	r.Text, err = o.get(ctx, conn, bufio.NewReader(conn), true)
	r.Resent = resent(conn)
	return r, err
}

// connect makes a connection, and no more.
func (o options) connect(ctx context.Context) (Result, error) {
	conn, from, err := dial(ctx, o.to)
	r := Result{From: from}
	if err == nil {
		r.Resent = resent(conn)
		_ = conn.Close() // it stood
	}
	return r, err
}

// keptHTTP sends all requests over one connection. When that breaks, which the Result tells, the next is made.
func (o options) keptHTTP() request {
	var conn net.Conn
	var from netip.AddrPort
	var answers *bufio.Reader
	before := 0
	return func(ctx context.Context) (Result, error) {
		var err error
		if conn == nil {
			if conn, from, err = dial(ctx, o.to); err != nil {
				return Result{From: from}, err
			}
			answers, before = bufio.NewReader(conn), 0
		}
		r := Result{From: from}
		r.Text, err = o.get(ctx, conn, answers, false)
		now := resent(conn)
		r.Resent, before = now-before, now
		if err != nil {
			_ = conn.Close() // it is of no use any more
			conn = nil
		}
		return r, err
	}
}

// get sends a request over a connection and returns the answer. http.Client is not used, since it tries again, unasked,
// on another connection.
func (o options) get(ctx context.Context, conn net.Conn, answers *bufio.Reader, last bool) (string, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.to.String()+"/"+strings.TrimPrefix(o.path, "/"), nil)
	if err != nil {
		return "", err
	}
	req.Close = last
	if err := req.Write(conn); err != nil {
		return "", fmt.Errorf("ask: %w", err)
	}
	resp, err := http.ReadResponse(answers, req)
	if err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), err
}

// askUDP sends one datagram from a port of its own and waits for the answer.
func (o options) askUDP(ctx context.Context) (Result, error) {
	conn, err := net.Dial("udp", o.to.String())
	if err != nil {
		return Result{}, err
	}
	defer conn.Close()
	return o.exchange(ctx, conn)
}

// keptUDP sends all datagrams from one port.
func (o options) keptUDP() request {
	var conn net.Conn
	return func(ctx context.Context) (Result, error) {
		if conn == nil {
			var err error
			if conn, err = net.Dial("udp", o.to.String()); err != nil {
				return Result{}, err
			}
		}
		return o.exchange(ctx, conn)
	}
}

func (o options) exchange(ctx context.Context, conn net.Conn) (Result, error) {
	r := Result{From: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return r, err
		}
	}
	if _, err := io.WriteString(conn, o.path); err != nil {
		return r, err
	}
	in := make([]byte, 2048)
	n, err := conn.Read(in)
	r.Text = string(in[:n])
	return r, err
}

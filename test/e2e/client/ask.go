package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// Role is the first argument of a binary that is to ask.
const Role = "client"

// Run asks as args say until SIGTERM, and returns the exit code.
func Run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if err := Ask(ctx, os.Stdout, args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Role, err)
		return 1
	}
	return 0
}

// request asks once. The Result has what is known, also after an error.
type request func(ctx context.Context) (Result, error)

// options are what the command line can change.
type options struct {
	to      netip.AddrPort
	proto   string
	path    string
	every   time.Duration
	timeout time.Duration
	count   int
	keep    bool
}

func parse(args []string) (options, error) {
	var o options
	flags := pflag.NewFlagSet(Role, pflag.ContinueOnError)
	flags.StringVar(&o.proto, "proto", "http", "http; tcp: connect, and no more; udp: a datagram, and one back")
	flags.StringVar(&o.path, "ask", "", "path of the URL, or text of the datagram")
	flags.DurationVar(&o.every, "every", 10*time.Millisecond, "one request each so often, whether or not earlier ones are answered")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Second, "give up on a request after this time")
	flags.IntVar(&o.count, "count", 0, "how many requests; 0: until SIGTERM")
	flags.BoolVar(&o.keep, "keep", false, "use one connection, or one UDP socket, and ask the next after the last is over")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() != 1 {
		return o, fmt.Errorf("want one address with a port, have %q", flags.Args())
	}
	var err error
	o.to, err = netip.ParseAddrPort(flags.Arg(0))
	return o, err
}

// Ask sends requests as args say, and prints a Result for each, until ctx ends or their number is reached; then it waits
// for those that are under way.
func Ask(ctx context.Context, out io.Writer, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	var ask request
	switch {
	case o.proto == "http" && o.keep:
		ask = o.keptHTTP()
	case o.proto == "http":
		ask = o.askHTTP
	case o.proto == "tcp" && !o.keep:
		ask = o.connect
	case o.proto == "udp" && o.keep:
		ask = o.keptUDP()
	case o.proto == "udp":
		ask = o.askUDP
	default:
		return fmt.Errorf("--proto %q, --keep %t: no such thing", o.proto, o.keep)
	}
	o.steadily(ctx, out, ask)
	return nil
}

func (o options) steadily(ctx context.Context, out io.Writer, ask request) {
	var (
		mu      sync.Mutex // one line at a time
		lines   = json.NewEncoder(out)
		pending sync.WaitGroup
		tick    = time.NewTicker(o.every)
	)
	defer tick.Stop()
	defer pending.Wait()
	once := func() {
		r := o.once(context.WithoutCancel(ctx), ask)
		mu.Lock()
		defer mu.Unlock()
		_ = lines.Encode(r) // whoever reads it has gone
	}
	for n := 0; o.count == 0 || n < o.count; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if o.keep {
			once()
			continue
		}
		pending.Go(once)
	}
}

func (o options) once(ctx context.Context, ask request) Result {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	begun := time.Now()
	r, err := ask(ctx)
	r.At, r.Took, r.To = begun, time.Since(begun), o.to
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"espalier/test/demo/shop"
)

// A result is one request as the one who asked saw it.
type result struct {
	At     time.Time     `json:"at"` // when it was sent
	Took   time.Duration `json:"took"`
	Answer *shop.Answer  `json:"answer,omitempty"`
	Err    string        `json:"err,omitempty"`
}

// askRole sends requests and prints a result for each as a line of JSON. Every request is a new connection,
// because a Service chooses an endpoint per connection.
func askRole(args []string) error {
	flags := pflag.NewFlagSet("ask", pflag.ContinueOnError)
	count := flags.Int("count", 1, "how many requests; 0: until SIGTERM")
	every := flags.Duration("every", time.Millisecond, "one request each so often, whether or not earlier ones are answered")
	timeout := flags.Duration("timeout", shop.CallTimeout, "give up on a request after this time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("want one URL, have %q", flags.Args())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	askAll(ctx, os.Stdout, shop.NewClient(*timeout), flags.Arg(0), *count, *every)
	return nil
}

func askAll(ctx context.Context, out io.Writer, client *http.Client, url string, count int, every time.Duration) {
	var (
		mu      sync.Mutex // one line at a time
		lines   = json.NewEncoder(out)
		pending sync.WaitGroup
		tick    = time.NewTicker(every)
	)
	defer tick.Stop()
	defer pending.Wait()
	for n := 0; count == 0 || n < count; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pending.Go(func() {
			res := askOnce(client, url)
			mu.Lock()
			defer mu.Unlock()
			_ = lines.Encode(res) // the demo has gone, and we are about to
		})
	}
}

func askOnce(client *http.Client, url string) result {
	res := result{At: time.Now()}
	page, err := shop.Call(context.Background(), client, url)
	res.Answer, res.Took = page, time.Since(res.At)
	if err != nil {
		res.Err = err.Error()
	}
	return res
}

// try sends one request to url from a machine, with less patience than usual.
func (m *machine) try(ctx context.Context, url string, timeout time.Duration) (result, error) {
	results, err := m.ask(ctx, 1, url, "--timeout", timeout.String())
	if err != nil || len(results) != 1 {
		return result{}, errors.Join(err, ctx.Err())
	}
	return results[0], nil
}

// ask sends count requests to url from a machine and waits for all of them.
func (m *machine) ask(ctx context.Context, count int, url string, options ...string) ([]result, error) {
	cmd, err := m.again("ask", append(options, "--count", strconv.Itoa(count), url)...)
	if err != nil {
		return nil, err
	}
	var (
		results []result
		stderr  bytes.Buffer
	)
	cmd.Stderr = &stderr
	p, err := spawn("requests of "+m.name, cmd, func(line []byte) { results = append(results, parseResult(line)) })
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.kill()
		return nil, ctx.Err()
	}
	if p.err != nil {
		return nil, fmt.Errorf("ask %s from %s: %w: %s", url, m.name, p.err, stderr.String())
	}
	return results, nil
}

func parseResult(line []byte) result {
	var res result
	if err := json.Unmarshal(line, &res); err != nil {
		return result{At: time.Now(), Err: fmt.Sprintf("unreadable result %q: %v", line, err)}
	}
	return res
}

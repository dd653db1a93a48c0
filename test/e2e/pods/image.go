package pods

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"espalier/test/demo/shop"
	"espalier/test/e2e/client"
)

// Role is the first argument of a binary that is to run a container. The image follows, then the container's arguments.
const Role = "pod"

// Ready is the line by which a container says that it serves.
const Ready = "ready"

// An image runs until ctx ends, which SIGTERM brings about, or until it has done what it was to do.
type image func(ctx context.Context, args []string) error

var images = map[string]image{
	"shop.example/frontend": sell,
	"shop.example/backend":  sell,
	"shop.example/database": sell,
	"e2e.example/netexec":   netexec,
	"e2e.example/client":    askSteadily,
	"e2e.example/pause":     pause,
}

// Known reports whether there is an image of a name.
func Known(name string) bool {
	_, ok := find(name)
	return ok
}

// find looks for the image of a name, without its tag or digest.
func find(name string) (image, bool) {
	name, _, _ = strings.Cut(name, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") { // not that of a registry's port
		name = name[:i]
	}
	run, ok := images[name]
	return run, ok
}

// Run runs the container that args name, the image first, and returns its exit code.
func Run(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "pod: want the name of an image")
		return 2
	}
	run, ok := find(args[0])
	if !ok {
		fmt.Fprintf(os.Stderr, "pod: there is no image %s\n", args[0])
		return 127
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if err := run(ctx, args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "pod: %s: %v\n", args[0], err)
		return 1
	}
	return 0
}

func sayReady() { fmt.Println(Ready) }

func sell(ctx context.Context, _ []string) error {
	c := shop.Container{Pod: os.Getenv("HOSTNAME"), Port: os.Getenv("PORT"), Calls: os.Getenv("CALLS")}
	return c.Serve(ctx, sayReady)
}

func askSteadily(ctx context.Context, args []string) error {
	sayReady()
	return client.Ask(ctx, os.Stdout, args)
}

func pause(ctx context.Context, _ []string) error {
	sayReady()
	<-ctx.Done()
	return nil
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"espalier/test/demo/shop"
)

// podRole is the container of a pod: it serves until SIGTERM.
func podRole([]string) error {
	if err := awaitNetwork(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := shop.Container{Pod: os.Getenv("HOSTNAME"), Port: os.Getenv("PORT"), Calls: os.Getenv("CALLS")}
	return c.Serve(ctx, func() { fmt.Println(saysReady) })
}

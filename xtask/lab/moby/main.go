// Command moby is the daemon of Docker 29, which Debian does not have: the one
// whose images lie in containerd's image store.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/moby/moby/v2/daemon/command"
	"github.com/moby/sys/reexec"
)

func main() {
	// It starts itself again for what needs a process of its own.
	if reexec.Init() {
		return
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	daemon, err := command.NewDaemonRunner(os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	return daemon.Run(context.Background())
}

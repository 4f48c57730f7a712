// Command moby is the daemon of Docker 29, which keeps its images in containerd's image
// store. Debian has no package of it.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/moby/moby/v2/daemon/command"
	"github.com/moby/sys/reexec"
)

func main() {
	// The daemon starts this program again for work that needs a separate process.
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

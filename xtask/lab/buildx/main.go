// Command buildx is Docker Buildx without its driver for Kubernetes, whose packages take a third of
// the time of the build.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/docker/buildx/commands"
	"github.com/docker/buildx/util/cobrautil"
	"github.com/docker/buildx/version"
	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli-plugins/metadata"
	"github.com/docker/cli/cli-plugins/plugin"
	"github.com/docker/cli/cli/command"
	solver "github.com/moby/buildkit/solver/errdefs"
	"go.opentelemetry.io/otel"

	_ "github.com/docker/buildx/driver/docker"
	_ "github.com/docker/buildx/driver/docker-container"
	_ "github.com/docker/buildx/driver/remote"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto"
)

func main() {
	// Daemons of old versions do not accept traces.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	docker, err := command.NewDockerCli()
	if err == nil {
		root := commands.NewRootCmd("buildx", true, docker)
		err = plugin.RunPlugin(docker, root, metadata.Metadata{
			SchemaVersion: "0.1.0",
			Vendor:        "Docker Inc.",
			Version:       version.Version,
		})
	}
	if err != nil {
		os.Exit(report(err))
	}
}

// report prints an error as the original program does, and returns the exit code.
func report(err error) int {
	var status cli.StatusError
	if errors.As(err, &status) {
		if status.Status != "" {
			fmt.Fprintln(os.Stderr, status.Status)
		}
		return max(status.StatusCode, 1)
	}
	var code cobrautil.ExitCodeError
	if errors.As(err, &code) {
		return int(code)
	}
	for _, source := range solver.Sources(err) {
		source.Print(os.Stderr)
	}
	fmt.Fprintf(os.Stderr, "ERROR: %v\n", err)
	if errors.Is(err, context.Canceled) {
		return 130
	}
	return 1
}

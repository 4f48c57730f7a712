#!/bin/sh
# Checks the tools, installs cargo-kdev, and deploys the project to your cluster.
# usage: scripts/onboard.sh [--yes] [--context NAME]
#   --yes            install missing tools without a question
#   --context NAME   kube context to use; naming a context also allows changes to it
set -eu

# Where cargo-kdev is installed from: the arguments of `cargo install` that select its source.
# It is not installed by its name alone, because anyone can publish a crate of that name.
: "${KDEV_SOURCE=}"

yes=
context=
while [ $# -gt 0 ]; do
	case $1 in
	--yes | -y) yes=1 ;;
	--context)
		[ $# -gt 1 ] || { echo "error: --context requires a name" >&2 && exit 2; }
		context=$2
		shift
		;;
	--help | -h)
		sed -n '2,5s/^# //p' "$0"
		exit
		;;
	*)
		echo "error: unknown argument: $1" >&2
		exit 2
		;;
	esac
	shift
done
cd "$(dirname "$0")/.."
# rustup installs cargo there, and the PATH of this shell may be older.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

has() { command -v "$1" >/dev/null 2>&1; }

# Prints the family of the system, by which the install commands differ.
system() {
	if [ "$(uname -s)" = Darwin ]; then
		echo macos
		return
	fi
	release=${OS_RELEASE:-/etc/os-release}
	names=
	# The file is a list of shell variables.
	# shellcheck disable=SC1090
	[ ! -r "$release" ] || names=$(. "$release" && echo "${ID-} ${ID_LIKE-}")
	for name in $names; do
		case $name in
		debian | ubuntu) echo debian && return ;;
		fedora | rhel) echo fedora && return ;;
		arch) echo arch && return ;;
		alpine) echo alpine && return ;;
		esac
	done
	echo unknown
}
system=$(system)
sudo=
[ "$(id -u)" -eq 0 ] || ! has sudo || sudo='sudo '

# Prints the command that installs a tool, or nothing if it is unknown.
install_command() {
	case $1 in
	cargo) echo "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" && return ;;
	esac
	case $system:$1 in
	debian:cc) echo "${sudo}apt-get update && ${sudo}apt-get install -y build-essential" ;;
	debian:curl) echo "${sudo}apt-get update && ${sudo}apt-get install -y curl ca-certificates" ;;
	debian:docker) echo "${sudo}apt-get update && ${sudo}apt-get install -y docker.io" ;;
	debian:git) echo "${sudo}apt-get update && ${sudo}apt-get install -y git" ;;
	debian:kubectl) echo "curl -fLo /tmp/kubectl https://dl.k8s.io/release/v1.34.0/bin/linux/$(arch)/kubectl && ${sudo}install /tmp/kubectl /usr/local/bin/kubectl" ;;
	debian:ssh) echo "${sudo}apt-get update && ${sudo}apt-get install -y openssh-client" ;;
	fedora:cc) echo "${sudo}dnf install -y gcc glibc-static" ;;
	fedora:docker) echo "${sudo}dnf install -y moby-engine && ${sudo}systemctl enable --now docker" ;;
	fedora:kubectl) echo "${sudo}dnf install -y kubernetes-client" ;;
	fedora:ssh) echo "${sudo}dnf install -y openssh-clients" ;;
	fedora:*) echo "${sudo}dnf install -y $1" ;;
	arch:cc) echo "${sudo}pacman -S --noconfirm base-devel" ;;
	arch:ssh) echo "${sudo}pacman -S --noconfirm openssh" ;;
	arch:docker) echo "${sudo}pacman -S --noconfirm docker && ${sudo}systemctl enable --now docker" ;;
	arch:*) echo "${sudo}pacman -S --noconfirm $1" ;;
	alpine:cc) echo "${sudo}apk add --update-cache build-base" ;;
	alpine:ssh) echo "${sudo}apk add --update-cache openssh-client" ;;
	alpine:docker) echo "${sudo}apk add --update-cache docker && ${sudo}rc-update add docker && ${sudo}service docker start" ;;
	alpine:*) echo "${sudo}apk add --update-cache $1" ;;
	macos:cc) echo 'xcode-select --install' ;;
	macos:docker) echo 'brew install --cask docker' ;;
	macos:kubectl) echo 'brew install kubernetes-cli' ;;
	macos:ssh) echo 'brew install openssh' ;;
	macos:*) echo "brew install $1" ;;
	esac
}

# Prints the name of the processor in downloads.
arch() {
	case $(uname -m) in
	aarch64 | arm64) echo arm64 ;;
	*) echo amd64 ;;
	esac
}

# Asks whether to run a command. Without a terminal and without --yes, the answer is no.
confirm() {
	[ -z "$yes" ] || return 0
	[ -t 0 ] || return 1
	printf '  Run it now? [y/N] ' >&2
	read -r answer || return 1
	[ "$answer" = y ] || [ "$answer" = yes ]
}

missing=
# Installs a tool if it is missing and the user agrees.
need() {
	! has "$1" || return 0
	command=$(install_command "$1")
	if [ -z "$command" ]; then
		echo "missing: $1; install it with the package manager of your system" >&2
	else
		echo "missing: $1; install it with: $command" >&2
		if confirm && sh -c "$command" >&2 && has "$1"; then
			return 0
		fi
	fi
	missing="$missing $1"
}

has cargo || need curl
for tool in cargo cc git kubectl ssh; do
	need "$tool"
done
if [ -n "$missing" ]; then
	echo "error: missing:$missing" >&2
	echo "help: install them, or run $0 --yes" >&2
	exit 1
fi

if ! has cargo-kdev; then
	if [ -z "$KDEV_SOURCE" ]; then
		echo "error: the source of cargo-kdev is not set" >&2
		echo "help: set KDEV_SOURCE in $0, for example to '--git URL --rev COMMIT'" >&2
		exit 1
	fi
	# Several arguments.
	# shellcheck disable=SC2086
	set -- cargo install --locked $KDEV_SOURCE cargo-kdev
	echo "missing: cargo-kdev; install it with: $*" >&2
	if ! confirm || ! "$@" >&2; then
		echo "error: cargo-kdev is not installed" >&2
		exit 1
	fi
fi

set --
[ -z "$context" ] || set -- "$@" --context "$context"
if [ -t 0 ]; then
	cargo kdev doctor --fix "$@"
else
	cargo kdev doctor "$@"
fi
cargo kdev up "$@"

# Without a terminal, nothing could end it.
if [ -t 0 ]; then
	echo 'The port can be forwarded to this machine until Ctrl-C, with: cargo kdev forward' >&2
	yes=
	! confirm || exec cargo kdev forward "$@"
fi

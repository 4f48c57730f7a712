# The beginning of each script: prints the IDs of the machine, and selects its
# containerd. The caller passes
#   NONCE SUDO RUNTIME [ARGUMENTS]
# and reads only the part of a line after the nonce, so that other output of
# the login shell is ignored.
nonce=$1 sudo=$2 runtime=$3
shift 3
# Messages of sudo and other programs are parsed in English.
LC_ALL=C
export LC_ALL
# With these, `ctr` would use another containerd or snapshotter than the kubelet.
unset CONTAINERD_ADDRESS CONTAINERD_SNAPSHOTTER
# Some variables are split into words on purpose, but are never glob patterns.
set -f
emit() { printf '%s %s\n' "$nonce" "$*"; }
# After a lost connection or an interrupt, a failed import must still be undone.
trap '' HUP PIPE
trap : TERM INT
emit hello
# The kubelet reports the same IDs, from the same files.
emit machine "$(cat /etc/machine-id 2>/dev/null || cat /var/lib/dbus/machine-id 2>/dev/null)"
emit boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"

# Prints the path of a program, even if it is not on the login shell's PATH.
find_program() {
	command -v "$1" && return
	for folder in /usr/local/bin /usr/bin /usr/sbin /opt/bin /snap/bin; do
		[ -x "$folder/$1" ] && printf '%s\n' "$folder/$1" && return
	done
	return 1
}
# Selects the containerd that the kubelet uses; a machine may have others. $ctr_args
# are arguments between the program and the options.
program=ctr ctr_args= snapshotter=
case $runtime in
containerd) socket=/run/containerd/containerd.sock root=/var/lib/containerd ;;
k3s)
	socket=/run/k3s/containerd/containerd.sock root=/var/lib/rancher/k3s/agent/containerd
	program=k3s ctr_args=ctr
	# RKE2 has the same runtime version suffix, but no k3s program.
	find_program k3s >/dev/null || {
		program=/var/lib/rancher/rke2/bin/ctr ctr_args="--address $socket"
		root=/var/lib/rancher/rke2/agent/containerd
	}
	;;
microk8s)
	socket=/var/snap/microk8s/common/run/containerd.sock
	root=/var/snap/microk8s/common/var/lib/containerd
	program=microk8s ctr_args=ctr
	;;
k0s)
	socket=/run/k0s/containerd.sock root=/var/lib/k0s/containerd
	program=k0s ctr_args=ctr
	;;
*)
	socket= root=
	program=${runtime%% *}
	ctr_args=${runtime#"$program"}
	;;
esac

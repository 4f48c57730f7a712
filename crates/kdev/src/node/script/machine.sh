# Prints the facts of a report that are also available without containerd.
emit time "$(date +%s)"
emit user "$(id -un)"
emit socket "$socket"
# The sockets of known runtimes.
sockets='/run/containerd/containerd.sock /run/k3s/containerd/containerd.sock
	/var/snap/microk8s/common/run/containerd.sock /run/k0s/containerd.sock
	/run/crio/crio.sock /run/cri-dockerd.sock'
for other in $sockets; do [ -S "$other" ] && emit listens "$other"; done
emit disk "$root" "$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $2, $4 }')"
for tool in zstd gzip; do command -v "$tool" >/dev/null && emit tool "$tool"; done
command -v flock >/dev/null || emit no-lock flock
[ -r /etc/machine-id ] || emit no-lock /etc/machine-id

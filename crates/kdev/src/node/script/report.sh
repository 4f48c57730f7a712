# Prints the state of the machine and its containerd, and whether a load can work.
report_containerd || exit 0
for space in $(ct namespaces ls -q 2>/dev/null); do emit namespace "$space"; done
emit cri "$(ct plugins ls 2>/dev/null | awk '$1 == "io.containerd.grpc.v1" && $2 == "cri" { print $NF }')"
# The sudoers rule may allow other verbs but not the import. `-l` only checks.
if [ "$sudo" = yes ]; then
	output=$(sudo -n -l "$ctr" $ctr_args -n k8s.io image import --platform linux/amd64 - 2>&1 </dev/null) ||
		emit no-import "$(one_line "$output")"
	for call in 'images ls' 'images label x' 'images rm x' 'containers ls' 'content get x'; do
		output=$(sudo -n -l "$ctr" $ctr_args -n k8s.io $call 2>&1 </dev/null) || {
			emit no-prune "$(one_line "$output")"
			break
		}
	done
fi

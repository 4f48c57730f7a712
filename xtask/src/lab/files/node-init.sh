#!/bin/sh
# Usage: node-init.sh STATE NODE BINARY...
# Makes a new network, mount and UTS namespace look like a separate machine, and keeps them
# open. Each BINARY was built by the lab and replaces Debian's.
set -eu
state=$1
node=$2
shift 2
dir=$state/nodes/$node

# First, because mount(8) keeps a table in /run; -n prevents an entry in that of the host.
mount -n -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock

hostname "$node"
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true

# The layer over /etc has the names, users and runtime of the node. Its network configuration
# replaces that of the host.
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work" /etc
mount --bind "$dir/cni" /etc/cni/net.d
mount --bind "$dir/boot_id" /proc/sys/kernel/random/boot_id
for binary in "$@"; do
    mount --bind "$state/lib/$binary" "/usr/bin/$binary"
done

# The state folder stays visible at the same path, in the new /var/lib.
mount --bind "$state" "$dir/var-lib/${state##*/}"
mount --rbind "$dir/var-lib" /var/lib
mount --bind "$dir/log" /var/log
mount --bind "$dir/tmp" /tmp
mount --bind "$dir/home" /home
mount --bind "$dir/root" /root

# Containers must see the volumes that the kubelet mounts before it starts them.
mount --make-rshared /
touch "$dir/ready"
exec sleep infinity

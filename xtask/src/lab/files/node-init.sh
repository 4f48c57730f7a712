#!/bin/sh
# Turns a fresh network, mount and UTS namespace into a machine of its own,
# and then holds them open: usage node-init.sh STATE NODE BINARY...
# Each BINARY is one of the lab's own, which takes the place of Debian's.
set -eu
state=$1
node=$2
shift 2
dir=$state/nodes/$node

# First, for mount keeps notes in it; and none (-n) in the host's.
mount -n -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock

hostname "$node"
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true

# One layer over /etc holds the node's names, users, runtime and CNI.
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work" /etc
mount --bind "$dir/boot_id" /proc/sys/kernel/random/boot_id
for binary in "$@"; do
    mount --bind "$state/lib/$binary" "/usr/bin/$binary"
done

# The state folder stays in sight at its own place below the new /var/lib.
mount --bind "$state" "$dir/var-lib/${state##*/}"
mount --rbind "$dir/var-lib" /var/lib
mount --bind "$dir/log" /var/log
mount --bind "$dir/tmp" /tmp
mount --bind "$dir/home" /home
mount --bind "$dir/root" /root

# Pods' volumes have to be seen by the containers that start after them.
mount --make-rshared /
touch "$dir/ready"
exec sleep infinity

#!/bin/sh
# Runs a command with a folder as the root of a new mount namespace, as if that were
# another machine: usage enter.sh ROOT [FROM TO]... -- COMMAND...
# Each FROM is visible at TO, and cannot be changed there. The caller provides the
# namespace, whose mounts end with its last process. A chroot is not enough: nsenter(1)
# and runc(8) leave it.
set -eu
root=$1
shift
mount -n --bind "$root" "$root"
for name in proc sys dev; do
    mount -n --rbind "/$name" "$root/$name"
done
# None of the sockets of this machine.
mount -n -t tmpfs -o mode=755 tmpfs "$root/run"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount -n --bind "$1" "$root$2"
    mount -n -o remount,bind,ro "$root$2"
    shift 2
done
shift
cd "$root"
mkdir -p old
pivot_root . old
umount -n --lazy /old
rmdir /old
# As after the boot of a machine.
mount -n --make-rshared /
cd /root
exec "$@"

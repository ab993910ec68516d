#!/bin/sh
# Runs a command as a container engine would: root.sh EMPTY UID READABLE... -- COMMAND...
#
# In mount and process namespaces of its own (`unshare --mount --pid --fork`): a root that holds the system's programs,
# the folders READABLE and nothing else of this machine, read-only but for /tmp; a user without name and capabilities.
set -eu
root=$1 uid=$2
shift 2

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"

readable() {
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    mount -o remount,bind,ro,nosuid "$root$1"
}
for folder in /bin /lib /lib64 /sbin; do
    if [ -L "$folder" ]; then cp -P "$folder" "$root$folder"; elif [ -d "$folder" ]; then readable "$folder"; fi
done
readable /usr
readable /etc
while [ "$1" != -- ]; do
    readable "$1"
    shift
done
shift

mkdir "$root/dev" "$root/proc" "$root/tmp"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -o remount,ro "$root"
mount -t tmpfs -o mode=1777,nosuid,nodev,size=1g tmpfs "$root/tmp"

cd "$root"
exec /usr/sbin/chroot . /usr/bin/setpriv --reuid "$uid" --regid "$uid" --clear-groups --bounding-set=-all --inh-caps=-all \
    --no-new-privs -- "$@"

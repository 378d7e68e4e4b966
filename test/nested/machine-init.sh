#!/bin/sh
# PID 1 of the machine with KVM: what its tests expect of a machine, then the tests, then off. The last line tells how they ended.
export PATH=/usr/local/bin:/usr/bin:/usr/sbin HOME=/tmp TMPDIR=/tmp NODE_NO_WARNINGS=1 HEARTH_TEST_ACCELERATOR=kvm
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t tmpfs -o size=80% tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for what in cpu memory pids; do echo "+$what" >/sys/fs/cgroup/cgroup.subtree_control; done
mount -t tmpfs tmpfs /repository/build
mount -t tmpfs tmpfs /var/cache/hearth
mkdir -p /run/netns
cp -r /shelf/* /var/cache/hearth/
exec >/dev/console 2>&1
echo "machine is up after $(cut -d' ' -f1 /proc/uptime) s: $(grep -c -w svm /proc/cpuinfo) processors with SVM, $(ls /dev/kvm /dev/vhost-vsock 2>&1 | tr '\n' ' ')"
cd /repository
. /tests
echo "nested: ended with $?"
# Until the last line is out.
stty -F /dev/console sane
echo b >/proc/sysrq-trigger

#!/bin/busybox sh
# The first process of a virtual machine of `cargo xtask vm`: mounts cgroups in the layout that the kernel's
# command line names, runs each test file, and turns the machine off.
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin RUST_BACKTRACE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
ln -s /proc/self/fd /dev/fd
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
for word in $(cat /proc/cmdline); do
    case $word in
        podrole.layout=*) layout=${word#*=} ;;
        podrole.only=*) only=$(echo "${word#*=}" | tr , ' ') ;;
    esac
done

hierarchies() {
    mount -t tmpfs cgroups /sys/fs/cgroup
    for controllers in cpu,cpuacct memory pids net_cls,net_prio; do
        mkdir "/sys/fs/cgroup/$controllers"
        mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$controllers" || rmdir "/sys/fs/cgroup/$controllers"
    done
}
case $layout in
    v2) mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
    hybrid) hierarchies; mkdir /sys/fs/cgroup/unified; mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified ;;
    v1) hierarchies ;;
esac

export PODROLE_AGENT=/tests/podrole PODROLE_TEST_SLOWNESS=10 PODROLE_TEST_MACHINE=1
cd /tests
echo "@kernel $(uname -r) $layout"
if [ "$layout" = v1 ]; then
    ip addr add 10.0.0.10/32 dev lo
    /tests/podrole attach --listen 10.0.0.10 >/tmp/said 2>&1
    echo "@refused $?"
    cat /tmp/said
    mkdir -p /sys/fs/cgroup/memory/kubepods
    /tests/podrole attach --listen 10.0.0.10 --pod-cgroup /sys/fs/cgroup/memory/kubepods >/tmp/said 2>&1
    echo "@refused $?"
    cat /tmp/said
else
    for file in /tests/deps/*; do
        echo "@file ${file##*/}"
        "$file" --test-threads=1 $only </dev/null >/tmp/said 2>&1
        status=$?
        # The console is slow: of what passed, the lines that count.
        if [ $status = 0 ]; then grep -E '^test |^podrole' /tmp/said; else cat /tmp/said; fi
        echo "@ended $status"
    done
fi
echo "@done"
poweroff -f

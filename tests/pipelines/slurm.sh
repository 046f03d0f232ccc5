#!/usr/bin/env bash
# A real SLURM on this machine, for the tests marked slurm. Needs root and Debian's packages slurm-wlm and munge.
#
#   tests/pipelines/slurm.sh start DIR    daemons with their state, logs and slurm.conf under DIR
#   tests/pipelines/slurm.sh stop DIR     end them
#
# Clients find it through SLURM_CONF=DIR/slurm.conf. Partitions: `normal`, and `urgent`, whose jobs pre-empt and
# requeue those of `normal`.
set -euo pipefail
action=$1 dir=$(realpath -m "$2")

stop() {
    for name in slurmd slurmctld munged; do
        if [ -f "$dir/$name.pid" ]; then
            kill "$(cat "$dir/$name.pid")" 2>/dev/null || true
            rm -f "$dir/$name.pid"
        fi
    done
    [ ! -f "$dir/munge_dir" ] || rm -rf "$(cat "$dir/munge_dir")"
}

if [ "$action" = stop ]; then stop; exit; fi

mkdir -p "$dir"/{state,spool}
# munged runs as its own user and insists on directories that nobody else may write: not under a test's private folder
munge_dir=$(mktemp -d /tmp/simpath-munge.XXXXXX)
echo "$munge_dir" >"$dir/munge_dir"
dd if=/dev/urandom of="$munge_dir/key" bs=128 count=1 2>/dev/null
chmod 400 "$munge_dir/key"
chown -R munge: "$munge_dir"
chmod 755 "$munge_dir"
setpriv --reuid=munge --regid=munge --clear-groups munged --foreground \
    --key-file="$munge_dir/key" --socket="$munge_dir/socket" --pid-file="$munge_dir/pid" \
    --log-file="$munge_dir/log" --seed-file="$munge_dir/seed" >"$dir/munged.out" 2>&1 &
echo $! >"$dir/munged.pid"
for _ in $(seq 100); do [ -S "$munge_dir/socket" ] && break; sleep 0.1; done

host=$(hostname -s)
cpus=$(getconf _NPROCESSORS_ONLN) # nproc would print OMP_NUM_THREADS
cat >"$dir/slurm.conf" <<CONF
ClusterName=simpath
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=${SLURMCTLD_PORT:-16817}
SlurmdPort=${SLURMD_PORT:-16818}
AuthType=auth/munge
AuthInfo=socket=$munge_dir/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
MinJobAge=600
ReturnToService=2
SlurmctldTimeout=300
SlurmdTimeout=300
SchedulerParameters=sched_interval=2,bf_interval=2
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.daemon
SlurmdPidFile=$dir/slurmd.daemon
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$(($(getconf _PHYS_PAGES) * $(getconf PAGE_SIZE) / 1048576 - 512)) State=UNKNOWN
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$dir/slurm.conf
slurmctld -D >"$dir/slurmctld.out" 2>&1 &
echo $! >"$dir/slurmctld.pid"
slurmd -D -N "$host" >"$dir/slurmd.out" 2>&1 &
echo $! >"$dir/slurmd.pid"
while [ $SECONDS -lt 60 ]; do
    if sinfo -h -o %t 2>/dev/null | grep -q idle; then exit 0; fi
    sleep 0.2
done
echo "SLURM did not come up; logs are in $dir" >&2
tail -n 5 "$dir"/*.out "$dir"/*.log >&2 || true
stop
exit 1

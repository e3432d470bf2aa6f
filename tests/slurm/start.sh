#!/usr/bin/env bash
# A SLURM with accounting on this one machine, for the tests. As root on Debian or Ubuntu; installs
# the packages that are missing, starts what does not run, and does nothing where all runs.
set -euo pipefail

say() { echo "slurm: $*" >&2; }
runs() { pgrep -x "$1" >/dev/null; }
wait_for() { # seconds, command...
    local tries=$(($1 * 4)); shift
    for _ in $(seq "$tries"); do "$@" >/dev/null 2>&1 && return; sleep 0.25; done
    say "gave up waiting for: $*"; return 1
}

[ "$(id -u)" = 0 ] || { say "needs root, to install and start the daemons"; exit 1; }
host=$(hostname -s)

packages=()
for pair in sbatch:slurm-wlm munged:munge slurmdbd:slurmdbd mariadbd:mariadb-server; do
    command -v "${pair%%:*}" >/dev/null || [ -x "/usr/sbin/${pair%%:*}" ] || packages+=("${pair#*:}")
done
if [ ${#packages[@]} -gt 0 ]; then
    say "installing ${packages[*]}"
    apt-get update -qq
    # services are started below; a container has no init that could
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
PATH=$PATH:/usr/sbin:/sbin

mkdir -p /run/munge /var/log/munge /var/spool/slurmctld /var/spool/slurmd /var/log/slurm \
    /run/mysqld /etc/slurm
[ -f /etc/munge/munge.key ] ||
    dd if=/dev/urandom of=/etc/munge/munge.key bs=1 count=1024 2>/dev/null
chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge
chmod 400 /etc/munge/munge.key
chmod 755 /run/munge
runs munged || runuser -u munge -- munged

chown mysql:mysql /run/mysqld
[ -d /var/lib/mysql/mysql ] || mariadb-install-db --user=mysql >/dev/null
runs mariadbd || (setsid mariadbd-safe --user=mysql --bind-address=127.0.0.1 >/dev/null 2>&1 &)
wait_for 60 mariadb-admin ping
mariadb -e "create user if not exists slurm@localhost identified by 'slurm';
            grant all on slurm_acct_db.* to slurm@localhost;"

cat >/etc/slurm/slurmdbd.conf <<CONF
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile=/var/log/slurm/slurmdbd.log
PidFile=/run/slurmdbd.pid
CONF
chmod 600 /etc/slurm/slurmdbd.conf

# cred_expire: how long a requeued job waits at least; two minutes where it is not set.
# More CPUs than there are: the tests' jobs mostly sleep. A job that does not ask for memory gets a
# part of it, or it would have the node for itself.
cat >/tmp/slurm.conf.$$ <<CONF
ClusterName=local
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerNode=4000
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
SlurmdParameters=config_overrides
ReturnToService=1
MpiDefault=none
JobRequeue=1
KillWait=15
MaxArraySize=2001
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=1
NodeName=$host CPUs=8 RealMemory=$(($(awk '/MemTotal/{print $2}' /proc/meminfo) / 1024 - 2000)) State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
if ! cmp -s /tmp/slurm.conf.$$ /etc/slurm/slurm.conf; then
    cp /tmp/slurm.conf.$$ /etc/slurm/slurm.conf
    changed=1
fi
rm -f /tmp/slurm.conf.$$

runs slurmdbd || slurmdbd
wait_for 30 sacctmgr -n show cluster
sacctmgr -n show cluster local 2>/dev/null | grep -q local ||
    sacctmgr -i add cluster local >/dev/null 2>&1 || true
runs slurmctld || slurmctld
wait_for 20 scontrol ping
runs slurmd || slurmd
[ -z "${changed:-}" ] || scontrol reconfigure || true
idle() { sinfo -h -o %T | grep -qE 'idle|mixed|allocated'; }
if ! wait_for 5 idle; then
    scontrol update NodeName="$host" State=RESUME || true
    wait_for 20 idle
fi
sinfo >&2

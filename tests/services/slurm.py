"""A real Slurm on this machine: the controller and two nodes, as root, without accounting."""

import contextlib
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tests.services.guard import Daemons, service
from tests.services.ports import free_ports

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel")
NODES = ("n1", "n2")
CONFIGURATION = """\
ClusterName=meanfield
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
ReturnToService=1
KillWait=5
NodeName=DEFAULT CPUs=4 RealMemory=8000
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2}
PartitionName=main Nodes=ALL Default=YES LLN=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Job:
    """A job in the queue.

    Attributes:
        number: its id.
        state: PENDING, RUNNING, COMPLETING …
        node: where it runs, or nothing.
        name: its name.
    """

    number: int
    state: str
    node: str
    name: str


class Slurm:
    """A running Slurm with the partition ``main`` and the nodes ``n1`` and ``n2``.

    Attributes:
        environment: what its commands need in theirs.
    """

    def __init__(self, daemons: Daemons) -> None:
        self._daemons = daemons
        self.environment = {"SLURM_CONF": str(daemons.folder / "slurm.conf")}

    def command(self, *arguments: str) -> str:
        """Run sbatch, squeue, scontrol …; what it prints."""
        environment = [f"{key}={value}" for key, value in self.environment.items()]
        return self._daemons.do("env", *environment, *arguments)

    def jobs(self, *states: str) -> list[Job]:
        """The jobs in some states; without any, those that have not ended."""
        chosen = [f"--states={','.join(states)}"] if states else []
        lines = self.command("squeue", "--noheader", "--format=%A|%T|%N|%j", *chosen).splitlines()
        split = (line.split("|", 3) for line in lines)
        return [Job(int(number), state, node, name) for number, state, node, name in split]

    def cancel(self, job: Job) -> None:
        """End a job."""
        self.command("scancel", str(job.number))

    def expire(self, job: Job) -> None:
        """Let a job's walltime be over: Slurm sends SIGTERM, which can take half a minute."""
        soon = (datetime.now() + timedelta(seconds=2)).isoformat(timespec="seconds")
        self.command("scontrol", "update", f"jobid={job.number}", f"endtime={soon}")

    def down(self, node: str) -> None:
        """Set a node down: Slurm kills and requeues what runs there."""
        self.command("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def resume(self, node: str) -> None:
        """Let a node work again, and wait until it does."""
        self.command("scontrol", "update", f"nodename={node}", "state=resume")
        self._daemons.wait_until(lambda: node in self.ready(), f"{node} back")

    def ready(self) -> set[str]:
        """The nodes that can run jobs."""
        with contextlib.suppress(RuntimeError):
            told = self.command("sinfo", "--noheader", "--Node", "--format=%N %t").split()
            states = zip(told[::2], told[1::2], strict=True)
            return {node for node, state in states if state in ("idle", "mix", "alloc")}
        return set()

    def drain(self) -> None:
        """Cancel all jobs and wait until they have ended."""
        with contextlib.suppress(RuntimeError):
            self.command("scancel", "--user=root")
            self._daemons.wait_until(lambda: not self.jobs(), "empty", seconds=30)


@contextlib.contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Start Slurm, and end it with all its jobs."""
    with service("slurm") as daemons:
        _configure(daemons.folder)
        slurm = Slurm(daemons)
        munge = daemons.folder / "munge"
        daemons.start(
            "munged", "munged", "--force", "--foreground", f"--key-file={munge}.key",
            f"--socket={munge}.socket", f"--pid-file={munge}.pid", f"--log-file={munge}.log",
            f"--seed-file={munge}.seed",
        )  # fmt: skip
        daemons.wait_until((daemons.folder / "munge.socket").exists, "authenticating")
        configuration = slurm.environment["SLURM_CONF"]
        daemons.start("slurmctld", "slurmctld", "-D", "-c", "-f", configuration)
        for node in NODES:
            daemons.start(node, "slurmd", "-D", "-N", node, "-f", configuration)
        daemons.wait_until(lambda: slurm.ready() == set(NODES), "ready")
        try:
            yield slurm
        finally:
            slurm.drain()


def _configure(folder: Path) -> None:
    """Write what the daemons read."""
    folder.chmod(0o755)  # munge insists on it
    (folder / "state").mkdir()
    for node in NODES:
        (folder / f"spool.{node}").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    controller, n1, n2 = free_ports(3)
    text = CONFIGURATION.format(
        host=socket.gethostname(), controller=controller, folder=folder, n1=n1, n2=n2
    )
    (folder / "slurm.conf").write_text(text)

"""A real SLURM on this machine, started and ended by the tests: two nodes, GPUs, accounting.

Its daemons are children of the test process and everything of it lies in one folder; nothing
outside is written, and only processes that carry the folder's mark are ended.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db")
PACKAGES = (
    "munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins slurmdbd "
    "slurm-wlm-mysql-plugin mariadb-server"
)
CLIENTS = (
    "sbatch",
    "srun",
    "squeue",
    "scancel",
    "scontrol",
    "sinfo",
    "sacct",
    "sacctmgr",
    "sshare",
)
MARK = "DETOXMERGE_TEST_CLUSTER"
FREEZER = Path("/sys/fs/cgroup/freezer")  # cgroup v1: there SLURM can limit memory by the kernel
NODES = ("dmnode1", "dmnode2")
GPUS, CPUS, MEM_MB = 2, 4, 16000  # of a node; it may claim more than the machine has


def missing() -> list[str]:
    """Programs that this machine lacks for such a cluster."""
    return [name for name in PROGRAMS if not shutil.which(name, path=_path())]


class Cluster:
    """The cluster. `env` is what a client's environment needs."""

    def __init__(self, root: Path) -> None:
        """
        Args:
            root: an empty folder with a short path (sockets lie in it).
        """
        self.root = root
        self.env = {MARK: str(root), "PATH": f"{root}/bin:{_path()}"}
        self.daemons: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Write the configuration, start every daemon, and wait until both nodes are idle."""
        self._configure()
        (self.root / "munge.key").write_bytes(os.urandom(1024))
        (self.root / "munge.key").chmod(0o400)
        places = [
            f"--{what}-file={self.root}/munge.{what}" for what in ("key", "pid", "seed", "log")
        ]
        places.append(f"--socket={self.root}/munge.sock")
        self._spawn("munged", "--foreground", "--force", *places)
        self._wait(lambda: (self.root / "munge.sock").exists(), "munged")
        self._start_database()
        self._spawn("slurmdbd", "-D")
        self._wait(lambda: self._ok("sacctmgr", "-n", "list", "cluster"), "slurmdbd")
        self.run("sacctmgr", "-i", "add", "cluster", "detoxmerge", check=False)
        self.run("sacctmgr", "-i", "add", "account", "lab", "description=d", "organization=o")
        self.run("sacctmgr", "-i", "add", "user", _user(), "account=lab")
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self._wait(self.is_idle, "the nodes")

    def stop(self) -> None:
        """End every process of the cluster, and remove its cgroups."""
        for daemon in self.daemons.values():
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        for pid in self._marked():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        for node in NODES:
            for group in FREEZER.parent.glob(f"*/slurm_{node}"):
                for folder in sorted(group.glob("**/"), reverse=True):
                    with contextlib.suppress(OSError):
                        folder.rmdir()

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it answers."""
        self._spawn("slurmctld", "-D")
        self._wait(lambda: self._ok("scontrol", "ping"), "slurmctld")

    def stop_controller(self) -> None:
        """End slurmctld as its administrator would; its state is saved."""
        daemon = self.daemons.pop("slurmctld")
        daemon.terminate()
        daemon.wait(30)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        (self.root / "spool" / node).mkdir(parents=True, exist_ok=True)
        self._spawn("slurmd", "-D", "-N", node, name=node)

    def kill_node(self, node: str) -> None:
        """What a crash looks like: slurmd, its steps and their tasks are gone at once."""
        self.daemons.pop(node).kill()
        for file in FREEZER.glob(f"slurm_{node}/**/cgroup.procs"):
            for pid in file.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        for pid in self._marked(f"SLURMD_NODENAME={node}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def is_idle(self) -> bool:
        """Whether both nodes wait for work."""
        said = self.run("sinfo", "-h", "-N", "-p", "normal", "-o", "%n %T", check=False).split("\n")
        for line in said:
            if line.endswith(("down", "drained", "inval", "unknown", "down*")):
                self.run(
                    "scontrol", "update", f"nodename={line.split()[0]}", "state=resume", check=False
                )
        return sum(line.endswith("idle") for line in said) == len(NODES)

    def run(self, *command: str, check: bool = True) -> str:
        """Run a client of SLURM, and give its output."""
        done = subprocess.run(
            command, env=os.environ | self.env, capture_output=True, text=True, timeout=60
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def jobs(self, *states: str) -> list[dict[str, str]]:
        """Jobs in the queue: `id`, `state`, `comment`, `node`."""
        lines = self.run("squeue", "-h", "-o", "%i|%T|%k|%N").splitlines()
        rows = [
            dict(zip(("id", "state", "comment", "node"), line.split("|"), strict=True))
            for line in lines
        ]
        return [row for row in rows if not states or row["state"] in states]

    def accounts(self, since: str) -> list[dict[str, str]]:
        """Rows of sacct since a time, one per life of a job (a requeued job has several)."""
        fields = "jobid,state,reqtres,timelimit,elapsed,start,workdir,comment"
        lines = self.run("sacct", "-D", "-X", "-n", "-P", "-S", since, "-o", fields).splitlines()
        return [dict(zip(fields.split(","), line.split("|", 7), strict=True)) for line in lines]

    def _configure(self) -> None:
        for name in ("state", "spool", "bin", "dev"):
            (self.root / name).mkdir(parents=True)
        port = _free_ports(10)
        cgroup = os.access(FREEZER, os.W_OK)
        values = {f"port{i}": port + i for i in range(1, 7)} | {
            "root": self.root,
            "host": socket.gethostname().split(".")[0],
            "user": _user(),
            "track": "proctrack/cgroup" if cgroup else "proctrack/linuxproc",
            "task": "task/cgroup" if cgroup else "task/none",
            "gather": "jobacct_gather/cgroup" if cgroup else "jobacct_gather/linux",
            "enforce": "" if cgroup else "JobAcctGatherParams=OverMemoryKill",
            "cpus": CPUS,
            "mem": MEM_MB,
            "gpus": GPUS,
            "last_gpu": GPUS - 1,
        }
        self.database_port = values["port4"]
        gpus = [f"{self.root}/dev/nvidia{i}" for i in range(GPUS)]
        for i, gpu in enumerate(gpus):  # SLURM takes a GPU by its device file, whatever that is
            try:
                os.mknod(gpu, 0o600 | 0o020000, os.makedev(195, i))
            except PermissionError:
                os.symlink("/dev/null", gpu)
        for template in (Path(__file__).parent / "conf").iterdir():
            file = self.root / template.name
            file.write_text(template.read_text().format(**values))
            file.chmod(0o600)
        # Snakemake's plugin removes SLURM_CONF from a job's environment: clients that put it back
        for name in CLIENTS:
            script = self.root / "bin" / name
            real = shutil.which(name, path=_path())
            script.write_text(f'#!/bin/sh\nSLURM_CONF={self.root}/slurm.conf exec {real} "$@"\n')
            script.chmod(0o755)

    def _start_database(self) -> None:
        data, sock = self.root / "mysql", self.root / "mysql.sock"
        self.run(
            "mariadb-install-db",
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            f"--user={_user()}",
            f"--datadir={data}",
            "--skip-test-db",
            "--skip-name-resolve",
        )
        self._spawn(
            "mariadbd",
            "--no-defaults",
            f"--user={_user()}",
            f"--datadir={data}",
            f"--socket={sock}",
            "--bind-address=127.0.0.1",
            f"--port={self.database_port}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--innodb-lock-wait-timeout=900",
            "--innodb-flush-log-at-trx-commit=2",
        )
        sql = (
            "create user slurm@'127.0.0.1' identified by 'slurm'; create database slurm_acct_db;"
            "grant all on slurm_acct_db.* to slurm@'127.0.0.1';"
        )
        client = ("mariadb", "--no-defaults", "-S", str(sock), "-u", "root", "-e")
        self._wait(lambda: self._ok(*client, "select 1"), "mariadbd")
        self.run(*client, sql)

    def _spawn(self, *command: str, name: str | None = None) -> None:
        with open(self.root / f"{name or command[0]}.log", "a") as log:
            self.daemons[name or command[0]] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | self.env | {"SLURM_CONF": f"{self.root}/slurm.conf"},
            )

    def _ok(self, *command: str) -> bool:
        environment = os.environ | self.env
        return (
            subprocess.run(command, env=environment, capture_output=True, timeout=60).returncode
            == 0
        )

    def _wait(self, ready, what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            dead = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            assert not dead, (
                f"{dead[0]} ended: {(self.root / f'{dead[0]}.log').read_text()[-2000:]}"
            )
            assert time.monotonic() < end, f"{what} did not come up within {seconds:.0f} s"
            time.sleep(0.2)

    def _marked(self, also: str = "") -> list[int]:
        """Processes with this cluster's mark in their environment."""
        mark, found = f"{MARK}={self.root}", []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                names = (folder / "environ").read_text(errors="replace").split("\0")
                if (
                    mark in names
                    and (not also or also in names)
                    and int(folder.name) != os.getpid()
                ):
                    found.append(int(folder.name))
        return found


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    for first in range(21000, 30000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")

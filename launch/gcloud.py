"""The `gcloud` commands of a launch as lists of arguments, and a runner for them.

Everything specific to the provider is in this module, so that another provider (Compute Engine's
instance groups, which the generations after v6e require) can replace it.
"""

import dataclasses
import shlex
import subprocess
from collections.abc import Sequence

from tpu_types import LaunchError, TpuType

LABEL = "launcher=cervix_jax"
HOME = "cervix_jax"  # in the home directory of the virtual machines
MARK = "cervix-worker:"  # prefix of worker.sh's status line
NOT_FOUND = ("NOT_FOUND", "not found", "was not found")
ALREADY_EXISTS = ("ALREADY_EXISTS", "already exists")


class CommandError(LaunchError):
    """A command ended with a code other than 0."""

    def __init__(self, argv: Sequence[str], code: int, said: str):
        last = " ".join(said.split())[-300:] or "no error message"
        super().__init__(f"`{shlex.join(argv)}` exited with {code}: {last}")
        self.said = said

    def says(self, words: Sequence[str]) -> bool:
        """Whether the command's error message contains any of the words."""
        return any(word in self.said for word in words)


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs commands, or prints them with `dry_run`."""

    dry_run: bool = False

    def run(self, argv: Sequence[str]) -> None:
        """Run a command and show its output to the user.

        Raises:
          CommandError: its exit code is not 0.
        """
        if self.dry_run:
            print(shlex.join(argv))
            return
        done = self._start(argv, stderr=subprocess.PIPE)
        if done.returncode:
            raise CommandError(argv, done.returncode, done.stderr)

    def ask(self, argv: Sequence[str]) -> str:
        """Run a command and return its output; with `dry_run` the result is empty.

        Raises:
          CommandError: its exit code is not 0.
        """
        if self.dry_run:
            print(shlex.join(argv))
            return ""
        done = self._start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            raise CommandError(argv, done.returncode, done.stderr)
        return done.stdout.strip()

    def _start(
        self, argv: Sequence[str], *, stdout: int | None = None, stderr: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(argv, text=True, check=False, stdout=stdout, stderr=stderr)
        except FileNotFoundError as error:
            raise LaunchError(
                f"{argv[0]} was not found; install it, or add its folder to PATH."
            ) from error


@dataclasses.dataclass(frozen=True)
class Slice:
    """A TPU slice and the commands that operate on it.

    Attributes:
      name: name of the queued resource and of its node.
      zone: zone, such as `us-central1-a`.
      project: Google Cloud project; "" uses gcloud's default.
    """

    name: str
    zone: str
    project: str = ""

    @property
    def place(self) -> list[str]:
        """The zone and the project as arguments."""
        project = [f"--project={self.project}"] if self.project else []
        return [f"--zone={self.zone}", *project]

    @property
    def region(self) -> str:
        """The region: the zone without its letter."""
        return self.zone.rpartition("-")[0]

    def create(self, kind: TpuType, *, spot: bool, valid_hours: int) -> list[str]:
        """Request the slice; the request expires after `valid_hours` in the queue."""
        return [
            "gcloud", "compute", "tpus", "queued-resources", "create", self.name,
            f"--node-id={self.name}", *self.place, f"--accelerator-type={kind.name}",
            f"--runtime-version={kind.generation.runtime}", f"--labels={LABEL}",
            f"--valid-until-duration={valid_hours}h", *(["--spot"] if spot else []), "--quiet",
        ]  # fmt: skip

    def queue_state(self) -> list[str]:
        """Print the state of the request."""
        return [
            "gcloud", "compute", "tpus", "queued-resources", "describe", self.name, *self.place,
            "--format=value(state.state)",
        ]  # fmt: skip

    def node_state(self) -> list[str]:
        """Print the state of the machines."""
        return [
            "gcloud", "compute", "tpus", "tpu-vm", "describe", self.name, *self.place,
            "--format=value(state)",
        ]  # fmt: skip

    def listing(self) -> list[str]:
        """List every slice in the zone that this launcher has created."""
        return [
            "gcloud", "compute", "tpus", "tpu-vm", "list", *self.place, f"--filter=labels.{LABEL}"
        ]  # fmt: skip

    def delete(self) -> list[str]:
        """Delete the request and its machines, and wait until they are gone."""
        return [
            "gcloud", "compute", "tpus", "queued-resources", "delete", self.name, *self.place,
            "--force", "--quiet",
        ]  # fmt: skip

    def copy(self, source: str, target: str) -> list[str]:
        """Copy a file to every machine."""
        return [
            "gcloud", "compute", "tpus", "tpu-vm", "scp", source, f"{self.name}:{target}",
            *self.place, "--worker=all", "--strict-host-key-checking=no", "--quiet",
        ]  # fmt: skip

    def on_hosts(self, command: Sequence[str], *, worker: str = "all") -> list[str]:
        """Run a command on every machine; a program started on only one of them would hang."""
        return [
            "gcloud", "compute", "tpus", "tpu-vm", "ssh", self.name, *self.place,
            f"--worker={worker}", "--strict-host-key-checking=no", "--quiet",
            f"--command={shlex.join(command)}",
        ]  # fmt: skip


def bucket_location(url: str, project: str) -> list[str]:
    """Print the location of the bucket of a gs:// address."""
    bucket = "/".join(url.split("/")[:3])
    where = [f"--project={project}"] if project else []
    return [
        "gcloud", "storage", "buckets", "describe", bucket, *where, "--format=value(location)"
    ]  # fmt: skip

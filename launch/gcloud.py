"""The `gcloud` commands that a launch needs, as lists of arguments, and what runs them.

Only the provider's part is here, so that another one (Compute Engine's instance groups, which the
generations after v6e need) can take its place.
"""

import dataclasses
import shlex
import subprocess
from collections.abc import Sequence

from tpu_types import LaunchError, TpuType

LABEL = "launcher=cervix_jax"
HOME = "cervix_jax"  # in the home directory of the virtual machines
MARK = "cervix-worker:"  # what worker.sh begins its report with
NOT_FOUND = ("NOT_FOUND", "not found", "was not found")
ALREADY_EXISTS = ("ALREADY_EXISTS", "already exists")


class CommandError(LaunchError):
    """A command ended with a code other than 0."""

    def __init__(self, argv: Sequence[str], code: int, said: str):
        last = " ".join(said.split())[-300:] or "it said nothing"
        super().__init__(f"`{shlex.join(argv)}` ended with {code}: {last}")
        self.said = said

    def says(self, words: Sequence[str]) -> bool:
        """Whether any of the words is in what the command said."""
        return any(word in self.said for word in words)


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs commands, or with `dry_run` prints them instead."""

    dry_run: bool = False

    def run(self, argv: Sequence[str]) -> None:
        """Run a command whose output the user sees.

        Raises:
          CommandError: it ended with another code than 0.
        """
        if self.dry_run:
            print(shlex.join(argv))
            return
        done = self._start(argv, stderr=subprocess.PIPE)
        if done.returncode:
            raise CommandError(argv, done.returncode, done.stderr)

    def ask(self, argv: Sequence[str]) -> str:
        """Run a command for its answer; with `dry_run` the answer is empty.

        Raises:
          CommandError: it ended with another code than 0.
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
            raise LaunchError(f"{argv[0]} is not installed, or not on the PATH.") from error


@dataclasses.dataclass(frozen=True)
class Slice:
    """A TPU slice by name, and the commands about it.

    Attributes:
      name: of the queued resource and of its node.
      zone: such as `us-central1-a`.
      project: "" takes gcloud's own default.
    """

    name: str
    zone: str
    project: str = ""

    @property
    def place(self) -> list[str]:
        """Where it is, as arguments."""
        project = [f"--project={self.project}"] if self.project else []
        return [f"--zone={self.zone}", *project]

    @property
    def region(self) -> str:
        """The zone without its letter."""
        return self.zone.rpartition("-")[0]

    def create(self, kind: TpuType, *, spot: bool, valid_hours: int) -> list[str]:
        """Ask for it; the request waits in a queue for so long."""
        return [
            "gcloud", "compute", "tpus", "queued-resources", "create", self.name,
            f"--node-id={self.name}", *self.place, f"--accelerator-type={kind.name}",
            f"--runtime-version={kind.generation.runtime}", f"--labels={LABEL}",
            f"--valid-until-duration={valid_hours}h", *(["--spot"] if spot else []), "--quiet",
        ]  # fmt: skip

    def queue_state(self) -> list[str]:
        """What has become of the request."""
        return [
            "gcloud", "compute", "tpus", "queued-resources", "describe", self.name, *self.place,
            "--format=value(state.state)",
        ]  # fmt: skip

    def node_state(self) -> list[str]:
        """What the machines are doing."""
        return [
            "gcloud", "compute", "tpus", "tpu-vm", "describe", self.name, *self.place,
            "--format=value(state)",
        ]  # fmt: skip

    def listing(self) -> list[str]:
        """Every slice in the zone that a launcher of this project made."""
        return [
            "gcloud", "compute", "tpus", "tpu-vm", "list", *self.place, f"--filter=labels.{LABEL}"
        ]  # fmt: skip

    def delete(self) -> list[str]:
        """Give the request and its machines back, and wait until they are gone."""
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
        """Run a command on every machine; a program started on one only would hang."""
        return [
            "gcloud", "compute", "tpus", "tpu-vm", "ssh", self.name, *self.place,
            f"--worker={worker}", "--strict-host-key-checking=no", "--quiet",
            f"--command={shlex.join(command)}",
        ]  # fmt: skip


def bucket_location(url: str, project: str) -> list[str]:
    """Where the bucket of a gs:// address lies."""
    bucket = "/".join(url.split("/")[:3])
    where = [f"--project={project}"] if project else []
    return [
        "gcloud", "storage", "buckets", "describe", bucket, *where, "--format=value(location)"
    ]  # fmt: skip

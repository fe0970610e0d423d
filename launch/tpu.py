"""Train on Cloud TPU: `python launch/tpu.py up|sync|run|status|logs|down|babysit`.

`python launch/tpu.py <command> --help` lists the flags of a command. Requires only `gcloud` and
Python. `--dry_run` prints the commands instead of running them. Exit
codes: 0 done, 1 failed, 2 invalid input, 130 Ctrl-C (machines and training continue).
"""

import argparse
import functools
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import fit_check
from babysit import Actions, Babysitter
from config_check import check_overrides, config_file
from gcloud import HOME, MARK, NOT_FOUND, CommandError, Runner, Slice, bucket_location
from tpu_types import LaunchError, TpuType, parse_type

ROOT = Path(__file__).resolve().parents[1]
SSH_KEY = Path("~/.ssh/google_compute_engine")


class Launch:
    """One TPU slice and the subcommands that operate on it."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.runner = Runner(args.dry_run)
        self.slice = Slice(args.name, args.zone, args.project)

    @property
    def kind(self) -> TpuType:
        """The TPU type of `--type`."""
        return parse_type(self.args.type)

    def up(self) -> int:
        """Request the machines; they are available once `status` prints ACTIVE and READY."""
        self.check_regions()
        if self.args.arguments:
            self.check_config()
        state = self.queue_state()
        if state:
            raise LaunchError(
                f"{self.args.name} already exists in the state {state}; delete it with "
                f"`{self.command('down')}`, or give another --name."
            )
        self.create()
        self.check_fit()  # while the request waits, so that it causes no delay
        return 0

    def check_fit(self) -> None:
        """Warn if the training of a config does not fit into memory; never stops the launch."""
        args = self.args
        if not args.arguments or not args.check_minutes:
            return
        if args.dry_run:
            self.runner.run(["python", *fit_check.command(args.type, args.arguments, "fit.json")])
        elif fit_check.check_fit(ROOT, args.type, args.arguments, args.check_minutes) is False:
            print(f"To cancel the request: {self.command('down')}")

    def create(self) -> None:
        """Request the machines."""
        self.runner.run(
            self.slice.create(self.kind, spot=self.args.spot, valid_hours=self.args.valid_hours)
        )

    def sync(self) -> int:
        """Copy the last commit to every host and install it there."""
        self.check_key()
        commit = self.commit
        folder, archive = f"{HOME}/{commit[:12]}", f"{commit[:12]}.tar.gz"
        with tempfile.TemporaryDirectory() as scratch:
            # A fixed name in a dry run makes its output reproducible.
            local = archive if self.args.dry_run else str(Path(scratch) / archive)
            self.runner.run(
                ["git", "-C", str(ROOT), "archive", "--format=tar.gz", "-o", local, commit]
            )
            self.runner.run(self.slice.copy(local, archive))
        self.runner.run(self.slice.on_hosts(["mkdir", "-p", folder]))
        self.runner.run(self.slice.on_hosts(["tar", "-xzf", archive, "-C", folder]))
        self.runner.run(self.slice.on_hosts(["ln", "-sfn", commit[:12], f"{HOME}/current"]))
        self.runner.run(self.slice.on_hosts(["bash", f"{folder}/launch/bootstrap.sh", "tpu"]))
        return 0

    def run(self) -> int:
        """Start training on every host in the background."""
        self.check_key()
        self.check_regions()
        self.check_config()
        self.start()
        return 0

    def start(self) -> None:
        """Start training on every host."""
        data = [f"CERVIX_DATA={self.args.data}"] if self.args.data else []
        self.runner.run(
            self.slice.on_hosts([
                "env", *data, "bash", f"{HOME}/current/launch/worker.sh", "--detach",
                f"--workdir={self.args.workdir}", *self.args.arguments,
            ])
        )  # fmt: skip

    def status(self) -> int:
        """Print the state of the request, its hosts and their training; list other slices."""
        print(f"request: {self.queue_state() or 'none'}")
        node = self.node_state()
        print(f"machines: {node or 'none'}")
        if node == "READY":
            for number, report in enumerate(self.workers()):
                print(f"program {number + 1}: {report}")
        self.runner.run(self.slice.listing())
        return 0

    def logs(self) -> int:
        """Print the end of one host's log (default: host 0); --follow also prints new lines."""
        lines = ["tail", "-n", "100", *(["-F"] if self.args.follow else [])]
        command = [*lines, f"{HOME}/worker.log"]
        self.runner.run(self.slice.on_hosts(command, worker=self.args.worker))
        return 0

    def down(self) -> int:
        """Delete the request and its machines; succeeds if there are none."""
        try:
            self.runner.run(self.slice.delete())
        except CommandError as error:
            if not error.says(NOT_FOUND):
                raise
            print(f"{self.args.name}: nothing to delete.")
        return 0

    def babysit(self) -> int:
        """Train to the end: replace preempted machines, and delete the machines when done."""
        self.check_key()
        _ = self.commit  # check before machines cause costs
        self.check_regions()
        path = self.check_config()
        if not self._git("ls-tree", "--name-only", self.commit, path):
            raise LaunchError(
                f"--config={path} is not committed, so the machines would not have it; commit it."
            )

        def start() -> None:
            self.sync()
            self.start()

        if self.args.dry_run:
            for step in (self.queue_state, self.create, self.node_state, start, self.workers):
                step()
            return self.down()
        actions = Actions(
            self.queue_state, self.node_state, self.workers, self.create, start, self.down,
            lambda line: print(line, flush=True),
        )  # fmt: skip
        args = self.args
        sitter = Babysitter(actions, args.max_restarts, args.max_hours, args.poll_seconds)
        try:
            code = sitter.run()
        except (KeyboardInterrupt, LaunchError):
            print(f"The machines keep running and cost money; to delete: {self.command('down')}")
            raise
        if code:
            print(f"Log: {self.command('logs')}\nTo delete: {self.command('down')}")
        return code

    def queue_state(self) -> str:
        """State of the request; "" without one."""
        return self._ask_or_nothing(self.slice.queue_state())

    def node_state(self) -> str:
        """State of the machines; "" without any."""
        return self._ask_or_nothing(self.slice.node_state())

    def workers(self) -> list[str]:
        """The state that worker.sh reports on each host."""
        script = f"{HOME}/current/launch/worker.sh"
        # A new machine does not have the script yet; that counts as "none" and not as a failure.
        asked = f"if test -f {script}; then bash {script} --status; else echo {MARK} none; fi"
        answer = self.runner.ask(self.slice.on_hosts(["bash", "-c", asked]))
        found = [line.partition(MARK)[2].strip() for line in answer.splitlines() if MARK in line]
        return found or ["none"]

    def _ask_or_nothing(self, argv: list[str]) -> str:
        try:
            return self.runner.ask(argv)
        except CommandError as error:
            if error.says(NOT_FOUND):
                return ""
            raise

    def check_regions(self) -> None:
        """Refuse buckets in another region than the machines, because each read would cost money.

        Raises:
          LaunchError: a bucket is in another region, or several hosts cannot share the workdir.
        """
        args = self.args
        local = bool(args.workdir) and not args.workdir.startswith("gs://")
        if local and not args.workdir.startswith("/"):
            raise LaunchError(
                f"--workdir={args.workdir}: give gs://BUCKET/FOLDER, or the absolute path of "
                "permanent storage that is mounted on all machines."
            )
        if not self.kind.one_host and args.workdir and not local:
            raise LaunchError(
                f"--type={args.type} has several machines, which cannot share "
                f"--workdir={args.workdir}; mount a file system on all and give its absolute path, "
                "or use a type with one machine, e.g. v5litepod-8."
            )
        for url in filter(None, (args.workdir, args.data)):
            if not url.startswith("gs://") or args.allow_cross_region:
                continue
            location = self.runner.ask(bucket_location(url, args.project)).lower()
            if location and location != self.slice.region:
                raise LaunchError(
                    f"{url} is in {location}, --zone={args.zone} in {self.slice.region}: traffic "
                    "between them is billed. Use a bucket and a zone of the same region, or give "
                    "--allow_cross_region."
                )

    def check_config(self) -> str:
        """The path of the config file, after a check of the config and its overrides.

        Raises:
          LaunchError: the file is not a config, or the package refuses the config or an override.
        """
        path = config_file(ROOT, self.args.arguments)
        workdir = [f"--workdir={self.args.workdir}"] if self.args.workdir else []
        check_overrides(ROOT, [*self.args.arguments, *workdir])
        return path

    def check_key(self) -> None:
        """Check for the ssh key; without one gcloud would stop and ask for a passphrase."""
        if not self.args.dry_run and not SSH_KEY.expanduser().exists():
            raise LaunchError(
                f"{SSH_KEY} is missing; create it with `ssh-keygen -t rsa -f {SSH_KEY} -N ''`."
            )

    @functools.cached_property
    def commit(self) -> str:
        """The commit to copy: the one that is checked out when the command starts.

        Raises:
          LaunchError: the working tree has uncommitted changes.
        """
        if self._git("status", "--porcelain") and not self.args.dirty:
            raise LaunchError(
                "the working tree has uncommitted changes; commit them, or give --dirty to run the "
                "last commit without them."
            )
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        asked = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
        if asked.returncode:
            raise LaunchError(f"{ROOT} is not a git checkout: {' '.join(asked.stderr.split())}")
        return asked.stdout.strip()

    def command(self, name: str) -> str:
        """The command line of another subcommand for this slice."""
        project = [f"--project={self.args.project}"] if self.args.project else []
        return shlex.join([
            "python", "launch/tpu.py", name, f"--name={self.args.name}",
            f"--zone={self.args.zone}", *project,
        ])  # fmt: skip


COMMANDS: dict[str, Callable[[Launch], int]] = {
    name: getattr(Launch, name)
    for name in ("up", "sync", "run", "status", "logs", "down", "babysit")
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser("tpu.py", description=__doc__, allow_abbrev=False)
    commands = result.add_subparsers(dest="command", required=True)
    for name, action in COMMANDS.items():
        one = commands.add_parser(name, help=(action.__doc__ or "").partition("\n")[0])
        _add_flags(one, name)
    return result


def _add_flags(one: argparse.ArgumentParser, name: str) -> None:
    one.add_argument("--name", required=True, help="name of the slice")
    one.add_argument("--zone", required=True, help="Google Cloud zone, e.g. us-central1-a")
    one.add_argument(
        "--project", default="", help="Google Cloud project; default: that of gcloud's config"
    )
    one.add_argument("--dry_run", action="store_true", help="print the commands, run none")
    if name in ("up", "run", "babysit"):
        one.add_argument("--type", default="v5litepod-8", help="TPU type; default %(default)s")
        needed = name != "up"
        one.add_argument(
            "--workdir", default="", required=needed,
            help="folder of the run: gs://BUCKET/FOLDER, or an absolute path on storage that all "
            "machines share",
        )  # fmt: skip
        one.add_argument("--data", default="", help="gs:// folder with prepared data")
        one.add_argument(
            "--allow_cross_region", action="store_true",
            help="allow buckets in another region than the zone; their traffic is billed",
        )  # fmt: skip
    if name in ("up", "babysit"):
        one.add_argument(
            "--spot", action="store_true", help="spot machines: cheaper, but may be preempted"
        )
        one.add_argument(
            "--valid_hours", type=int, default=6,
            help="hours after which an unfulfilled request expires; default %(default)s",
        )  # fmt: skip
    if name in ("sync", "babysit"):
        one.add_argument(
            "--dirty", action="store_true", help="use the last commit despite uncommitted changes"
        )
    if name == "up":
        one.add_argument(
            "--check_minutes", type=float, default=10,
            help="time limit in minutes of the check that training the --config after -- fits into "
            "memory, made while the request waits; 0 skips it; default %(default)s",
        )  # fmt: skip
    if name == "logs":
        one.add_argument("--worker", default="0", help="number of the host; default %(default)s")
        one.add_argument("--follow", action="store_true", help="also print new lines of the log")
    if name == "babysit":
        one.add_argument(
            "--max_restarts", type=int, default=20,
            help="maximum number of new requests or restarts; default %(default)s",
        )  # fmt: skip
        one.add_argument(
            "--max_hours", type=float, default=24,
            help="time limit in hours, after which the machines are deleted; default %(default)s",
        )  # fmt: skip
        one.add_argument(
            "--poll_seconds", type=float, default=60,
            help="mean time between two checks of the machines in seconds; default %(default)s",
        )  # fmt: skip
    if name in ("up", "run", "babysit"):
        one.add_argument("arguments", nargs="*", help="flags of cervix_jax.main, after --")


def main(argv: list[str]) -> int:
    """Run one subcommand and return its exit code."""
    args = parser().parse_args(argv)
    try:
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", args.name):
            raise LaunchError(
                f"--name={args.name}: give lower-case letters, digits and hyphens, starting with a "
                "letter."
            )
        if not re.fullmatch(r"[a-z]+-[a-z]+\d+-[a-z]", args.zone):
            raise LaunchError(f"--zone={args.zone} is not a zone; give e.g. us-central1-a.")
        return COMMANDS[args.command](Launch(args))
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python launch/tpu.py up|sync|run|status|logs|down|babysit`: this project on Cloud TPU.

Needs `gcloud` and Python alone. `--dry_run` prints every command instead of running it. Exit codes:
0 done, 1 failed, 2 cannot be done as asked, 130 Ctrl-C (what runs goes on).
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
    """One slice, and what the subcommands do with it."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.runner = Runner(args.dry_run)
        self.slice = Slice(args.name, args.zone, args.project)

    @property
    def kind(self) -> TpuType:
        """The type asked for."""
        return parse_type(self.args.type)

    def up(self) -> int:
        """Ask for the machines; they are there once `status` says ACTIVE and READY."""
        self.check_regions()
        if self.args.arguments:
            self.check_config()
        state = self.queue_state()
        if state:
            raise LaunchError(
                f"{self.args.name} exists already and is {state}; remove it with "
                f"`{self.command('down')}`, or give another --name."
            )
        self.create()
        self.check_fit()  # while the request waits: the machines are not kept from coming
        return 0

    def check_fit(self) -> None:
        """Warn where the training of a config does not fit into memory; stops nothing."""
        args = self.args
        if not args.arguments or not args.check_minutes:
            return
        if args.dry_run:
            self.runner.run(["python", *fit_check.command(args.type, args.arguments, "fit.json")])
        elif fit_check.check_fit(ROOT, args.type, args.arguments, args.check_minutes) is False:
            print(f"To take the request back: {self.command('down')}")

    def create(self) -> None:
        """Ask for the machines."""
        self.runner.run(
            self.slice.create(self.kind, spot=self.args.spot, valid_hours=self.args.valid_hours)
        )

    def sync(self) -> int:
        """Copy the committed code to every host and install it there."""
        self.check_key()
        commit = self.commit
        folder, archive = f"{HOME}/{commit[:12]}", f"{commit[:12]}.tar.gz"
        with tempfile.TemporaryDirectory() as scratch:
            # A fixed name in a dry run, so that its output is the same every time.
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
        """Start training on every host, detached from this terminal."""
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
        """Show the request, the machines, the program on each, and other slices of ours."""
        print(f"request: {self.queue_state() or 'none'}")
        node = self.node_state()
        print(f"machines: {node or 'none'}")
        if node == "READY":
            for number, report in enumerate(self.workers()):
                print(f"program {number + 1}: {report}")
        self.runner.run(self.slice.listing())
        return 0

    def logs(self) -> int:
        """Show the log of one host, and what is added to it."""
        lines = ["tail", "-n", "100", *(["-F"] if self.args.follow else [])]
        command = [*lines, f"{HOME}/worker.log"]
        self.runner.run(self.slice.on_hosts(command, worker=self.args.worker))
        return 0

    def down(self) -> int:
        """Delete the request and its machines; that nothing is there is no error."""
        try:
            self.runner.run(self.slice.delete())
        except CommandError as error:
            if not error.says(NOT_FOUND):
                raise
            print(f"{self.args.name}: there is nothing to delete.")
        return 0

    def babysit(self) -> int:
        """Keep the run going until it is done, whatever happens to the machines."""
        self.check_key()
        _ = self.commit  # before there are machines, which cost
        self.check_regions()
        path = self.check_config()
        if not self._git("ls-tree", "--name-only", self.commit, path):
            raise LaunchError(
                f"--config={path} is not committed, so the machines would not get it."
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
            print(f"What runs goes on and costs; to end it: {self.command('down')}")
            raise
        if code:
            print(f"Log: {self.command('logs')}\nTo give back: {self.command('down')}")
        return code

    def queue_state(self) -> str:
        """State of the request; "" where there is none."""
        return self._ask_or_nothing(self.slice.queue_state())

    def node_state(self) -> str:
        """State of the machines; "" where there are none."""
        return self._ask_or_nothing(self.slice.node_state())

    def workers(self) -> list[str]:
        """What worker.sh says on each host."""
        script = f"{HOME}/current/launch/worker.sh"
        # On a fresh machine the script is not there yet, which is an answer and no failure.
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
        """Refuse buckets that lie in another region than the machines: each read would cost.

        Raises:
          LaunchError: one does, or a workdir is not where several hosts can share it.
        """
        args = self.args
        local = bool(args.workdir) and not args.workdir.startswith("gs://")
        if local and not args.workdir.startswith("/"):
            raise LaunchError(
                f"--workdir={args.workdir}: give gs://BUCKET/FOLDER, or the absolute path of "
                "storage that outlives the machines and that all of them have mounted."
            )
        if not self.kind.one_host and args.workdir and not local:
            raise LaunchError(
                f"--type={args.type} is several machines, which cannot share "
                f"--workdir={args.workdir}; mount a file system on all and give its absolute path, "
                "or take a type of one machine, e.g. v5litepod-8."
            )
        for url in filter(None, (args.workdir, args.data)):
            if not url.startswith("gs://") or args.allow_cross_region:
                continue
            location = self.runner.ask(bucket_location(url, args.project)).lower()
            if location and location != self.slice.region:
                raise LaunchError(
                    f"{url} lies in {location}, --zone={args.zone} in {self.slice.region}: traffic "
                    "between them is billed. Take a bucket or a zone of the same region, or give "
                    "--allow_cross_region."
                )

    def check_config(self) -> str:
        """The config file, once it is seen to be one.

        Raises:
          LaunchError: it is none, or the package refuses what is said of it.
        """
        path = config_file(ROOT, self.args.arguments)
        workdir = [f"--workdir={self.args.workdir}"] if self.args.workdir else []
        check_overrides(ROOT, [*self.args.arguments, *workdir])
        return path

    def check_key(self) -> None:
        """Without a key gcloud would stop and ask for a passphrase."""
        if not self.args.dry_run and not SSH_KEY.expanduser().exists():
            raise LaunchError(
                f"{SSH_KEY} is missing; make it once with `ssh-keygen -t rsa -f {SSH_KEY} -N ''`."
            )

    @functools.cached_property
    def commit(self) -> str:
        """The commit that is copied: the one checked out at first, however long this goes on.

        Raises:
          LaunchError: there are changes that it does not have.
        """
        if self._git("status", "--porcelain") and not self.args.dirty:
            raise LaunchError(
                "the working tree has changes that are not committed; commit them, or give --dirty "
                "to run the last commit without them."
            )
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        asked = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
        if asked.returncode:
            raise LaunchError(f"{ROOT} is no git checkout: {' '.join(asked.stderr.split())}")
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
    one.add_argument("--name", required=True, help="of the slice")
    one.add_argument("--zone", required=True, help="e.g. us-central1-a")
    one.add_argument("--project", default="", help="default: gcloud's own")
    one.add_argument("--dry_run", action="store_true", help="print the commands only")
    if name in ("up", "run", "babysit"):
        one.add_argument("--type", default="v5litepod-8", help="default %(default)s")
        needed = name != "up"
        one.add_argument("--workdir", default="", required=needed, help="gs://BUCKET/FOLDER")
        one.add_argument("--data", default="", help="gs:// folder of prepared data")
        one.add_argument("--allow_cross_region", action="store_true")
    if name in ("up", "babysit"):
        one.add_argument("--spot", action="store_true", help="cheaper, may be taken away")
        one.add_argument("--valid_hours", type=int, default=6, help="how long a request waits")
    if name in ("sync", "babysit"):
        one.add_argument("--dirty", action="store_true", help="leave uncommitted changes out")
    if name == "up":
        one.add_argument(
            "--check_minutes", type=float, default=10,
            help="see whether the training of a --config after -- fits into memory, for at most so "
            "long, while the request waits; 0 does not look; default %(default)s",
        )  # fmt: skip
    if name == "logs":
        one.add_argument("--worker", default="0", help="which host, default %(default)s")
        one.add_argument("--follow", action="store_true")
    if name == "babysit":
        one.add_argument("--max_restarts", type=int, default=20)
        one.add_argument("--max_hours", type=float, default=24, help="then all is given back")
        one.add_argument("--poll_seconds", type=float, default=60)
    if name in ("up", "run", "babysit"):
        one.add_argument("arguments", nargs="*", help="after --: flags of cervix_jax.main")


def main(argv: list[str]) -> int:
    """Run one subcommand and give its exit code."""
    args = parser().parse_args(argv)
    try:
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", args.name):
            raise LaunchError(
                f"--name={args.name}: give lower-case letters, digits and hyphens, a letter first."
            )
        if not re.fullmatch(r"[a-z]+-[a-z]+\d+-[a-z]", args.zone):
            raise LaunchError(f"--zone={args.zone} is no zone such as us-central1-a.")
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

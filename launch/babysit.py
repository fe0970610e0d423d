"""The loop that keeps a run going on machines that are taken away, and gives them back at its end.

It holds no state: all it knows it asks, so that it can be stopped and started again at any time.
"""

import dataclasses
import random
import time
from collections.abc import Callable

from gcloud import ALREADY_EXISTS, CommandError
from tpu_types import LaunchError

EXIT_PREEMPTED = 75
WAITING = {"CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING", "DELETING"}
ENDED = {"FAILED", "SUSPENDING", "SUSPENDED"}
STARTING = {"CREATING", "STARTING", "RESTARTING", "REPAIRING"}
MOST_FAILED_QUESTIONS = 5


@dataclasses.dataclass(frozen=True)
class Actions:
    """What the loop asks and does; `tpu.py` makes these of gcloud's commands.

    Attributes:
      queue_state: state of the request, or "" where there is none.
      node_state: state of the machines, or "" where there are none.
      workers: report of every host: "running <pid>", "exit <code>", "lost" or "none".
      create, start, delete: ask for the slice; copy and start the program; give everything back.
      say: shows a line.
    """

    queue_state: Callable[[], str]
    node_state: Callable[[], str]
    workers: Callable[[], list[str]]
    create: Callable[[], None]
    start: Callable[[], None]
    delete: Callable[[], object]
    say: Callable[[str], None]


def judge(reports: list[str]) -> str:
    """What the hosts' reports come to: "running", "done", "restart" or "failed <code>"."""
    codes = [int(report.split()[1]) for report in reports if report.startswith("exit ")]
    failed = [code for code in codes if code not in (0, EXIT_PREEMPTED)]
    if failed:
        return f"failed {failed[0]}"
    if any(report.startswith("running") for report in reports):
        return "running"
    if len(codes) == len(reports) and not any(codes):
        return "done"
    return "restart"


@dataclasses.dataclass
class Babysitter:
    """Runs the loop once.

    Attributes:
      actions: see there.
      max_restarts: so many new slices and new starts, after the first.
      max_hours: in all, waiting included.
      poll_seconds: between two questions, give or take a fifth.
    """

    actions: Actions
    max_restarts: int
    max_hours: float
    poll_seconds: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: random.Random = dataclasses.field(default_factory=random.Random)
    creations: int = 0
    starts: int = 0
    _unanswered: int = 0
    _shown: str = ""

    def run(self) -> int:
        """Until the run is done (0), has failed (1), or a limit is reached (1).

        A run that failed keeps its machines, for whoever looks into it; in the other cases they
        are given back.
        """
        began = self.clock()
        while True:
            if self.clock() - began > self.max_hours * 3600:
                return self._give_up(f"--max_hours={self.max_hours:g} are over")
            # The first slice and the first start are no restarts.
            if max(self.creations, self.starts) - 1 > self.max_restarts:
                return self._give_up(f"--max_restarts={self.max_restarts} are used up")
            try:
                code = self._step()
                self._unanswered = 0
            except CommandError as error:
                # A machine that is being taken away, or a network that is away for a moment.
                self._unanswered += 1
                if self._unanswered > MOST_FAILED_QUESTIONS:
                    raise LaunchError(
                        f"gcloud failed {self._unanswered} times in a row: {error} Whatever runs "
                        "goes on running, and costs."
                    ) from error
                self.actions.say(f"{error} Trying again.")
                code = None
            if code is not None:
                return code
            self.sleep(self.poll_seconds * self.jitter.uniform(0.8, 1.2))

    def _step(self) -> int | None:
        queue = self.actions.queue_state()
        if not queue:
            self._create()
        elif queue in ENDED:
            self._replace(f"the request is {queue}")
        elif queue == "ACTIVE":
            return self._look_at_machines()
        elif queue in WAITING:
            self._note(f"the request is {queue}")
        else:
            raise LaunchError(f"gcloud calls the state of the request {queue!r}, unknown here.")
        return None

    def _look_at_machines(self) -> int | None:
        node = self.actions.node_state()
        if node in STARTING:
            self._note(f"the machines are {node}")
            return None
        if node != "READY":
            self._replace(f"the machines are {node or 'gone'}")
            return None
        verdict = judge(self.actions.workers())
        if verdict == "done":
            self.actions.say("The run is done; giving the machines back.")
            self.actions.delete()
            return 0
        if verdict.startswith("failed"):
            self.actions.say(f"The run {verdict.replace('failed', 'failed with exit code')}.")
            return 1
        if verdict == "restart":
            self.starts += 1
            if self.starts - 1 <= self.max_restarts:
                self.actions.say(f"Starting the program (start {self.starts}).")
                self.actions.start()
        else:
            self._note("the program is running")
        return None

    def _create(self) -> None:
        self.creations += 1
        if self.creations - 1 > self.max_restarts:
            return
        self.actions.say(f"Asking for machines (request {self.creations}).")
        try:
            self.actions.create()
        except CommandError as error:
            if not error.says(ALREADY_EXISTS):
                raise
            self.actions.say("The request exists already; going on with it.")

    def _replace(self, why: str) -> None:
        self.actions.say(f"Deleting, because {why}.")
        self.actions.delete()
        self._create()

    def _give_up(self, why: str) -> int:
        self.actions.say(f"Giving up and giving the machines back: {why}.")
        self.actions.delete()
        return 1

    def _note(self, state: str) -> None:
        """Say a state once, not at every poll."""
        if state != self._shown:
            self.actions.say(state[0].upper() + state[1:] + ".")
        self._shown = state

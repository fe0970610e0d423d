"""The loop that keeps a run going on preemptible machines and deletes them at the end.

It stores no state. It queries the state in every step, so it can be stopped and restarted at any
time.
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
    """The queries and actions of the loop; `tpu.py` implements them with gcloud.

    Attributes:
      queue_state: returns the state of the request, or "" without one.
      node_state: returns the state of the machines, or "" without any.
      workers: returns the status of every host: "running <pid>", "exit <code>", "lost" or "none".
      create: requests the slice.
      start: copies the code and starts the program.
      delete: deletes the request and the machines.
      say: prints a line.
    """

    queue_state: Callable[[], str]
    node_state: Callable[[], str]
    workers: Callable[[], list[str]]
    create: Callable[[], None]
    start: Callable[[], None]
    delete: Callable[[], object]
    say: Callable[[str], None]


def judge(reports: list[str]) -> str:
    """The state of the run from its hosts' reports.

    Returns:
      "running", "done", "restart" or "failed <code>".
    """
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
    """The babysit loop of one run.

    Attributes:
      actions: the queries and actions.
      max_restarts: maximum number of new requests, and of new starts, after the first.
      max_hours: time limit in hours, including waiting time.
      poll_seconds: time between two queries in seconds, varied at random by up to 20 %.
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
        """Loop until the run is finished, has failed, or reaches a limit.

        The machines of a failed run are kept for inspection; otherwise they are deleted.

        Returns:
          0 if the run is finished, else 1.
        """
        began = self.clock()
        while True:
            if self.clock() - began > self.max_hours * 3600:
                return self._give_up(f"--max_hours={self.max_hours:g} is reached")
            # The first slice and the first start are not restarts.
            if max(self.creations, self.starts) - 1 > self.max_restarts:
                return self._give_up(f"--max_restarts={self.max_restarts} is reached")
            try:
                code = self._step()
                self._unanswered = 0
            except CommandError as error:
                # The machine is being preempted, or the network is briefly unavailable.
                self._unanswered += 1
                if self._unanswered > MOST_FAILED_QUESTIONS:
                    raise LaunchError(
                        f"gcloud failed {self._unanswered} times in a row: {error} Machines that "
                        "are running keep running and cost money."
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
            raise LaunchError(f"gcloud reports an unknown state of the request: {queue!r}.")
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
            self.actions.say("The run is finished; deleting the machines.")
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
        self.actions.say(f"Requesting machines (request {self.creations}).")
        try:
            self.actions.create()
        except CommandError as error:
            if not error.says(ALREADY_EXISTS):
                raise
            self.actions.say("The request already exists; continuing with it.")

    def _replace(self, why: str) -> None:
        self.actions.say(f"Deleting, because {why}.")
        self.actions.delete()
        self._create()

    def _give_up(self, why: str) -> int:
        self.actions.say(f"Stopping and deleting the machines: {why}.")
        self.actions.delete()
        return 1

    def _note(self, state: str) -> None:
        """Print a state once, not at every poll."""
        if state != self._shown:
            self.actions.say(state[0].upper() + state[1:] + ".")
        self._shown = state

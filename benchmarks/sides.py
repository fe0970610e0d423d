"""Common parts of the comparisons with PyTorch: worker processes, equal weights, memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# Otherwise JAX reserves most of the GPU's memory before PyTorch starts.
ON_DEMAND = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
COMPILERS = ("auto", "inductor", "eager", "none")
PRECISIONS = ("auto", "float32", "bfloat16")
_CORES = " cores of "


class Side:
    """One side of a comparison, in a separate process that answers lines of JSON.

    Args:
      script: the Python file to run.
      arguments: its command line.
      environment: additional environment variables.
    """

    def __init__(self, script: str, arguments: list[str], environment: dict[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, str(Path(script).resolve()), *arguments],
            env=os.environ | environment, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def send(self, message: dict) -> None:
        """Send a message."""
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict:
        """Wait for the next answer."""
        for answer in self._process.stdout:
            if answer.startswith("{"):
                return json.loads(answer)
        raise SystemExit("a side of the comparison ended early; its error is above")

    def ask(self, message: dict) -> dict:
        """Send a message and wait for its answer."""
        self.send(message)
        return self.receive()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def messages() -> Iterator[dict]:
    """In a side's process: the received messages, one after the other."""
    for line in sys.stdin:
        yield json.loads(line)


def answer(message: dict) -> None:
    """In a side's process: answer the last message."""
    print(json.dumps(message), flush=True)


def write_json(path: str, record: object) -> None:
    """Write results so far; after an interruption the file contains the last complete results.

    Args:
      path: the file; "" writes nothing.
      record: the results.
    """
    if path:
        part = Path(f"{path}.part")
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        part.replace(path)


def torch_weights(name: str):
    """The torch twin of a network and its random weights; the same in every process."""
    sys.path.insert(0, str(ROOT / "tests" / "models"))
    import torch_twins

    return torch_twins.make(name, 5)


def torch_device():
    """PyTorch's device: a GPU if available. Convolutions use the fastest algorithm."""
    import torch

    torch.backends.cudnn.benchmark = True
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def jax_memory(device) -> float:
    """Peak memory of JAX on the GPU, or of this process on a CPU, in GiB."""
    if device.platform == "cpu":
        return peak_memory()
    return device.memory_stats()["peak_bytes_in_use"] / 2**30


def torch_memory(device) -> float:
    """Peak memory of PyTorch on the GPU, or of this process on a CPU, in GiB."""
    import torch

    if device.type == "cpu":
        return peak_memory()
    return torch.cuda.max_memory_allocated() / 2**30


def machine(device) -> str:
    """The name of JAX's GPU, or the number and kind of the CPU's cores."""
    if device.platform != "cpu":
        return device.device_kind
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), "CPU")
    return f"{len(os.sched_getaffinity(0))}{_CORES}{name}"


def is_cpu(name: str) -> bool:
    """Whether a name from `machine` is a CPU."""
    return _CORES in name


def peak_memory() -> float:
    """Peak memory of this process in GiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_one_line(main: Callable[[], None]) -> None:
    """Run a script; bad input gives a one-line message and exit code 2."""
    from cervix_jax.errors import InputError

    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)

"""The other processes of a run: connecting to them, and ending when one of them is lost.

If a process is lost, the others wait for it in their next sum over devices. JAX detects this after
a while and aborts them, with a page of C++ output. Here each prints one line instead and ends with
an exit code that means "start again".
"""

import contextlib
import ctypes
import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import distributed as jax_distributed

from cervix_jax import progress

# Seconds of silence after which a process counts as lost: a thread of JAX, which no computation
# blocks, sends a heartbeat in half of that time. JAX's own 100 seconds leave all chips idle.
HEARTBEAT_SECONDS = 30
# How long an ending process waits for the others; they end together, or one has failed.
SHUTDOWN_SECONDS = 60
EXIT_LOST = 75  # the same command continues the run (EX_TEMPFAIL), as after SIGTERM
# JAX's messages for a lost process: in sums on the CPU, on GPUs, and in agreements.
_LOSS = re.compile(
    r"gloo|nccl|connection (reset|closed|refused)|socket closed|unavailable|heartbeat|barrier"
    r"|coordination_?service",
    re.IGNORECASE,
)
_POINTER = ctypes.sizeof(ctypes.c_void_p)
_kept: list[Any] = []  # objects to which C++ holds a pointer
_ending = threading.Lock()  # never released: the first thread that takes it ends the process


def connect(address: str | None, count: int | None, own: int | None) -> None:
    """Call `jax.distributed.initialize` for a run that ends when one of its processes is lost.

    Raises:
      ValueError, TypeError, RuntimeError: the connection fails.
    """
    with _clients_that_end_the_process():
        jax.distributed.initialize(
            address, count, own,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )  # fmt: skip
    if jax_distributed.global_state.num_processes > 1:
        with contextlib.suppress(OSError, AttributeError):  # a C++ library other than on Linux
            _handle_bad_casts()


@contextlib.contextmanager
def ended_with_the_others() -> Iterator[None]:
    """A block in which an error caused by a lost process ends this process, with one line.

    Any other error passes through; with several processes it should be raised on all of them.
    """
    try:
        yield
    except Exception as error:
        if jax_distributed.global_state.num_processes > 1 and _is_loss(error):
            end_process()
        raise


def _is_loss(error: BaseException | None) -> bool:
    """Whether JAX raised the error, or one of its causes, because a process was lost."""
    if error is None:
        return False
    # JAX raises some of these as ValueError; they too begin with a status in capitals.
    text = str(error)
    status = isinstance(error, jax.errors.JaxRuntimeError) or re.match(r"[A-Z_]+: ", text)
    return bool(status and _LOSS.search(text)) or _is_loss(error.__cause__ or error.__context__)


def end_process(*unused: Any) -> None:
    """Report that another process is lost, and end this one immediately.

    The function waits for nothing: neither for the others, one of which is missing, nor for a
    checkpoint being written, since the next start ignores incomplete checkpoints. The failing sum
    and the missed heartbeat come in two threads, often at once; the second waits for the end.
    """
    _ending.acquire()
    try:
        state = jax_distributed.global_state
        message = (
            f"process {state.process_id} of {state.num_processes} ends, because another process of "
            "the run ended or is unreachable; the output of that process gives the cause. The last "
            "checkpoint is kept: start the processes again, in any number, with the same command "
            "and --workdir."
        )
        text = f"\nerror: {message}\n"
        if progress.in_json():
            text = progress.line("error", message=message)
            text += progress.line("end", exit_code=EXIT_LOST)
        os.write(_silence_others(), text.encode())
    finally:
        os._exit(EXIT_LOST)


def _silence_others() -> int:
    """Return a copy of standard error; all further output of this process is dropped.

    Other threads still run: a progress bar closes as its loop fails, and C++ logs the loss.
    """
    own = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return own


@contextlib.contextmanager
def _clients_that_end_the_process() -> Iterator[None]:
    """A block in which new connections call `end_process` where JAX would abort.

    JAX's client has an argument for this, which `jax.distributed.initialize` does not offer.
    """
    library: Any = jax_distributed._jax  # pyright: ignore[reportPrivateImportUsage]
    make = library.get_distributed_runtime_client

    def make_ending(*args: Any, **options: Any) -> Any:
        return make(*args, missed_heartbeat_callback=end_process, **options)

    library.get_distributed_runtime_client = make_ending
    try:
        yield
    finally:
        library.get_distributed_runtime_client = make


def _handle_bad_casts() -> None:
    """Make an uncaught `std::bad_cast` in C++ end the process as a loss does.

    Up to jaxlib 0.12 the client's call of `end_process` fails in this way: nanobind cannot pass an
    `absl::Status` to Python. Any other exception is handled as before.
    """
    library = ctypes.CDLL("libstdc++.so.6")
    handler_type = ctypes.CFUNCTYPE(None)
    kind, set_handler = library.__cxa_current_exception_type, library._ZSt13set_terminatePFvvE
    kind.restype, set_handler.restype = ctypes.c_void_p, handler_type

    def handle() -> None:
        info = kind()  # std::type_info: a pointer to its methods, a pointer to its name
        if info and ctypes.c_char_p.from_address(info + _POINTER).value == b"St8bad_cast":
            end_process()
        previous()

    handler = handler_type(handle)
    previous = set_handler(handler)
    _kept.append(handler)

"""How every command shows its progress: as bars, as JSON lines, or not at all.

All bars of this package are `Bar`, so `--progress` decides for all of them. With `json`, standard
error carries one JSON object a line and nothing else that Python writes: bars, log lines, warnings,
tracebacks and the last line of an error all become events. docs/extending.md lists their keys.
"""

import io
import json
import logging
import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO, TypeVar

from absl import logging as absl_logging
from tqdm import tqdm

Item = TypeVar("Item")
MODES = ("bar", "json", "none")
MIN_INTERVAL = 0.5  # seconds between two events of one bar


class _Output:
    """Where events go: nowhere, until `start` is called with "json"."""

    def __init__(self):
        self.mode, self.command, self.began = "bar", "", time.monotonic()
        self.stream: TextIO | None = None
        self.lock = threading.Lock()


_OUTPUT = _Output()


def start(mode: str, command: str) -> None:
    """Show the progress of this process in one of `MODES`; writes the event `start` for "json".

    Args:
      mode: "bar", "json" or "none".
      command: name of the command, for the events.
    """
    _OUTPUT.mode, _OUTPUT.command, _OUTPUT.began = mode, command, time.monotonic()
    if mode != "json" or _OUTPUT.stream is not None or sys.stderr is None:
        return
    # It removes other handlers of standard error, which it would not know once that is replaced.
    absl_logging.use_absl_handler()
    _OUTPUT.stream = sys.stderr
    sys.stderr = _LogLines()
    sys.excepthook = _report_crash
    logging.captureWarnings(True)
    absl_logging.get_absl_handler().setFormatter(_JsonFormatter())
    report("start")


def report(event: str, **values: Any) -> None:
    """Write one event as a JSON line; does nothing unless the mode is "json"."""
    if _OUTPUT.stream is not None:
        write_text(_OUTPUT.stream, line(event, **values))


def line(event: str, **values: Any) -> str:
    """The text of one event, with the line's end; `command` and `seconds` stand in every event."""
    seconds = round(time.monotonic() - _OUTPUT.began, 3)
    common = {"event": event, "command": _OUTPUT.command, "seconds": seconds}
    return json.dumps(_finite(common | values)) + "\n"


def _finite(value: Any) -> Any:
    """The value with None for numbers that JSON does not have: infinite ones and NaN."""
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(stream: TextIO, text: str) -> None:
    """Write whole lines at once, so that those of several threads do not mix."""
    with _OUTPUT.lock:
        stream.write(text)
        stream.flush()


def mode() -> str:
    """The mode of this process, one of `MODES`."""
    return _OUTPUT.mode


def in_json() -> bool:
    """Whether events are written as JSON lines."""
    return _OUTPUT.stream is not None


def counted(items: Sequence[Item], phase: str, unit: str) -> Iterator[Item]:
    """Give items, with the events of a bar; where bars are drawn, log lines do instead.

    Args:
      items: one for each long part of the work.
      phase: name of the phase in the events.
      unit: what an item is.
    """
    began = time.monotonic()

    def tally(event: str, done: int) -> None:
        report(
            event, phase=phase, done=done, total=len(items), unit=unit,
            phase_seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip

    done = 0
    try:
        for done, item in enumerate(items):
            tally("progress", done)
            yield item
            done += 1
    finally:
        tally("phase_end", done)


def end(exit_code: int) -> None:
    """Write the last event, `end`, with the exit code of the command."""
    if isinstance(sys.stderr, _LogLines):
        sys.stderr.write("\n")  # ends a line that was begun
    report("end", exit_code=exit_code)


class Bar(tqdm):
    """A progress bar of tqdm, or the events `progress` and `phase_end` of it.

    Takes the arguments of `tqdm.tqdm`; `desc` is the `phase` of the events.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._last, self._closing = ("", 0.0), False
        if _OUTPUT.mode == "none":
            kwargs["disable"] = True
        if in_json():  # what tqdm itself would write goes nowhere
            kwargs |= {"file": io.StringIO(), "mininterval": MIN_INTERVAL}
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draw the bar, or write an event at most every `MIN_INTERVAL` seconds."""
        # The type stubs declare None, but `close` moves the cursor only if the result is true.
        if not in_json():
            return super().display(msg, pos)
        phase, now = str(self.desc).rstrip(": "), time.monotonic()
        changed = phase != self._last[0]
        if not self._closing and (changed or now - self._last[1] >= MIN_INTERVAL):
            self._last = phase, now
            self._report("progress", phase)
        return None

    def close(self) -> None:
        """End the bar; its last event is `phase_end`."""
        if in_json() and not self.disable and not self._closing:
            self._closing = True
            self._report("phase_end", str(self.desc).rstrip(": "))
        super().close()

    def _report(self, event: str, phase: str) -> None:
        elapsed = round(time.time() - self.start_t, 3) if hasattr(self, "start_t") else 0.0
        report(
            event, phase=phase, done=self.n, total=self.total, unit=self.unit.strip(),
            phase_seconds=elapsed,
        )  # fmt: skip


class _LogLines(io.TextIOBase):
    """Takes the place of standard error: each line of text becomes an event."""

    encoding = "utf-8"

    def __init__(self):
        super().__init__()
        self._rest = ""

    def write(self, text: str) -> int:
        """Report whole lines; keep what is not yet a line."""
        *lines, self._rest = (self._rest + text).split("\n")
        for each in lines:
            _report_text(each)
        return len(text)

    def isatty(self) -> bool:
        """No terminal."""
        return False

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def fileno(self) -> int:
        """That of standard error, for processes that are started."""
        if _OUTPUT.stream is None:
            raise OSError("standard error is closed")
        return _OUTPUT.stream.fileno()


class _JsonFormatter(logging.Formatter):
    """Log records as events; the handler writes them to the standard error of before."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        values: Mapping[str, Any] = {"level": record.levelname.lower()}
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        return line("log", **values, message=message).rstrip("\n")


def _report_text(text: str) -> None:
    shown = text.rsplit("\r", 1)[-1].strip()  # of a bar of another library only the last state
    if shown.startswith("error: "):
        report("error", message=shown.removeprefix("error: "))
    elif shown:
        report("log", level="info", message=shown)


def _report_crash(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    text = logging.Formatter().formatException((kind, error, trace))
    report("error", message=f"{kind.__name__}: {error}", traceback=text)
    end(1)

"""Writers of training metrics: `metrics.jsonl` and TensorBoard event files."""

import json
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from cervix_jax import distributed
from cervix_jax.files.atomic import write_text

# tensorboardX imports PyTorch if installed, which takes seconds and is not used here.
_HIDDEN = "torch" not in sys.modules
if _HIDDEN:
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2
    from tensorboardX.summary import scalar
finally:
    if _HIDDEN:
        del sys.modules["torch"]

# Protobuf creates the classes of a file at import, invisible to type checkers.
_PROTO: Any = event_pb2

Scalars = dict[str, float]


class MetricWriter(Protocol):
    """The interface of a metric writer (method names as in clu.metric_writers)."""

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        """Write the values of one step."""

    def close(self) -> None:
        """Write buffered values and close."""


class JsonLinesWriter:
    """One JSON object per line, each with its `step`; tests and plots read this file.

    Args:
      path: the file.
      after_step: lines of later steps are removed, since a resumed run writes them again.
    """

    def __init__(self, path: Path, *, after_step: int):
        kept = [row for row in read_json_lines(path) if row["step"] <= after_step]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", encoding="utf-8")

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        """Append one line and flush it to the operating system."""
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardWriter:
    """Event files, without TensorFlow.

    Each call writes to the file before it returns. A background thread would hide its errors, and a
    full disk would fill its queue until the caller hangs.

    Args:
      folder: folder of the event files.
      after_step: TensorBoard discards later steps of an earlier start.
    """

    def __init__(self, folder: Path, *, after_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        restart = _PROTO.SessionLog(status=_PROTO.SessionLog.START)
        self._write(_PROTO.Event(step=after_step + 1, session_log=restart))

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        """Write each value under its name."""
        self._write(
            *(_PROTO.Event(step=step, summary=scalar(name, v)) for name, v in scalars.items())
        )

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()

    def _write(self, *events: Any) -> None:
        for event in events:
            event.wall_time = time.time()
            self._writer.write_event(event)
        self._writer.flush()


class MultiWriter:
    """Passes everything to each of several writers."""

    def __init__(self, *writers: MetricWriter):
        self._writers = writers

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        """Write to all writers."""
        for writer in self._writers:
            writer.write_scalars(step, scalars)

    def close(self) -> None:
        """Close all writers."""
        for writer in self._writers:
            writer.close()


def make_writer(workdir: Path, *, after_step: int) -> MetricWriter:
    """Return the writers of a run at step `after_step`; only the first process writes."""
    if not distributed.is_main_process():
        return MultiWriter()
    return MultiWriter(
        JsonLinesWriter(workdir / "metrics.jsonl", after_step=after_step),
        TensorBoardWriter(workdir / "tensorboard", after_step=after_step),
    )


def read_json_lines(path: Path) -> list[dict]:
    """Return the rows of a JSON-lines file; skips a truncated last line; no file gives no rows."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows

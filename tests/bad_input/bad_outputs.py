"""Places to write to that cannot be written, and disks that are full."""

import contextlib
import errno
import os
import resource
import stat

import pytest
from bad_case import Case
from bad_files import tree, write
from bad_tables import TABLE

SMALL = "--config={root}/tests/small.py:{data}"
FOLDER = ("--dataset=image_folder/default", "--manual_dir={tmp}/raw")


@contextlib.contextmanager
def full_disk(size: int = 3000):
    """No file may become larger than `size` bytes, as on a disk that runs full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def read_only():
    """Nothing can be made, as on a read-only disk; permissions do not stop the superuser."""

    def refuse(path, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with pytest.MonkeyPatch.context() as patch:
        for name in ("mkdir", "open", "rename", "replace"):
            patch.setattr(os, name, refuse)
        yield


def _file(tmp):
    write(tmp / "file", "mine")


def _table(tmp):
    write(tmp / "p.csv", TABLE)


def _pipe(tmp):
    os.mkfifo(tmp / "pipe")
    assert stat.S_ISFIFO((tmp / "pipe").stat().st_mode)


CASES = [
    Case(
        "a workdir below a file",
        "main",
        (SMALL, "--workdir={tmp}/file/run"),
        ("{tmp}/file/run",),
        _file,
    ),
    Case(
        "a workdir that is a file", "main", (SMALL, "--workdir={tmp}/file"), ("{tmp}/file",), _file
    ),
    Case(
        "a workdir with a name too long",
        "main",
        (SMALL, "--workdir=" + "x" * 300),
        ("File name too long",),
    ),
    Case(
        "a workdir with another's checkpoints",
        "main",
        (SMALL, "--workdir={tmp}/run"),
        ("{tmp}/run", "no config.json"),
        lambda tmp: write(tmp / "run/checkpoints/3/x", ""),
    ),
    Case(
        "a read-only workdir",
        "main",
        (SMALL, "--workdir={tmp}/new"),
        ("{tmp}/new", "Read-only"),
        around=read_only,
    ),
    Case(
        "an export into a full folder",
        "export",
        ("--workdir={run}", "--out={tmp}/out"),
        ("{tmp}/out", "exists already"),
        lambda tmp: write(tmp / "out/mine", ""),
    ),
    Case(
        "an export into a file",
        "export",
        ("--workdir={run}", "--out={tmp}/file"),
        ("{tmp}/file", "exists already"),
        _file,
    ),
    Case(
        "an export below a file",
        "export",
        ("--workdir={run}", "--out={tmp}/file/out"),
        ("{tmp}/file/out",),
        _file,
    ),
    Case(
        "an export to a full disk",
        "export",
        ("--workdir={run}", "--out={tmp}/out"),
        ("{tmp}/out", "File too large"),
        around=full_disk,
    ),
    Case("an export to nowhere", "export", ("--workdir={run}",), ("--out is missing",)),
    Case(
        "a report into a folder",
        "report",
        ("--workdir={run}", "--out={tmp}/out", "--cases=0"),
        ("{tmp}/out",),
        lambda tmp: (tmp / "out").mkdir(),
    ),
    Case(
        "a report into a pipe",
        "report",
        ("--workdir={run}", "--out={tmp}/pipe", "--cases=0"),
        ("{tmp}/pipe",),
        _pipe,
    ),
    Case(
        "a report below a file",
        "report",
        ("--workdir={run}", "--out={tmp}/file/r.html", "--cases=0"),
        ("{tmp}/file/r.html",),
        _file,
    ),
    Case(
        "a report to a full disk",
        "report",
        ("--workdir={run}", "--cases=0"),
        ("{tmp}/run/report.html", "File too large"),
        lambda tmp: write(tmp / "run/report.html", "the one before"),
        around=full_disk,
    ),
    Case(
        "a report of fewer cases than none",
        "report",
        ("--workdir={run}", "--cases=-1"),
        ("--cases=-1",),
    ),
    Case(
        "a comparison of one run",
        "report",
        ("--compare={run}",),
        ("--compare takes two or more runs or files, not 1",),
    ),
    Case("a report of nothing", "report", (), ("--workdir", "--compare")),
    Case(
        "a page of predictions that is no HTML",
        "predict",
        ("--workdir={run}", "--out={tmp}/p.csv", "--html={tmp}/p.txt", "{tmp}"),
        ("--html={tmp}/p.txt",),
    ),
    Case(
        "an evaluation to a full disk",
        "evaluate",
        ("--predictions={tmp}/p.csv",),
        ("{tmp}/p_evaluation", "File too large"),
        _table,
        around=lambda: full_disk(100),
    ),
    Case(
        "an evaluation to a read-only disk",
        "evaluate",
        ("--predictions={tmp}/p.csv",),
        ("{tmp}/p_evaluation", "Read-only"),
        _table,
        around=read_only,
    ),
    Case(
        "an evaluation where a file lies",
        "evaluate",
        ("--predictions={tmp}/p.csv",),
        ("{tmp}/p_evaluation",),
        lambda tmp: [_table(tmp), write(tmp / "p_evaluation", "mine")],
    ),
    Case(
        "an ensemble to nowhere",
        "evaluate",
        ("--ensemble", "{tmp}/p.csv", "{tmp}/p.csv"),
        ("--out",),
        _table,
    ),
    Case(
        "data below a file",
        "prepare",
        (*FOLDER, "--data_dir={tmp}/file/x"),
        ("{tmp}/file/x",),
        lambda tmp: [_file(tmp), tree(tmp)],
    ),
    Case(
        "data into a file",
        "prepare",
        (*FOLDER, "--data_dir={tmp}/file"),
        ("{tmp}/file",),
        lambda tmp: [_file(tmp), tree(tmp)],
    ),
    Case(
        "data to a full disk",
        "prepare",
        (*FOLDER, "--data_dir={tmp}/data"),
        ("{tmp}/data",),
        tree,
        around=full_disk,
    ),
    Case(
        "data to a read-only disk",
        "prepare",
        (*FOLDER, "--data_dir={tmp}/data"),
        ("{tmp}/data", "Read-only"),
        tree,
        around=read_only,
    ),
    Case(
        "an audit below a file",
        "audit",
        (*FOLDER, "--data_dir={tmp}/data", "--out={tmp}/file/x", "--trees=1", "--folds=2"),
        ("{tmp}/file/x",),
        lambda tmp: [_file(tmp), tree(tmp)],
    ),
    Case(
        "an audit with one fold",
        "audit",
        (*FOLDER, "--data_dir={tmp}/data", "--folds=1"),
        ("folds=1",),
        tree,
    ),
    Case(
        "an audit with a seed below zero",
        "audit",
        (*FOLDER, "--data_dir={tmp}/data", "--seed=-1"),
        ("seed=-1",),
        tree,
    ),
    Case("an audit of nothing", "audit", (), ("give either --dataset",)),
    Case(
        "an audit of two things",
        "audit",
        ("--dataset=herlev/default", "--workdir={run}"),
        ("give either --dataset",),
    ),
    Case(
        "an audit under a protocol that is none",
        "audit",
        (*FOLDER, "--protocol=luck"),
        ("--protocol=luck",),
    ),
    Case(
        "a reproduction into a file",
        "reproduce",
        ("--out={tmp}/file", "--data_dir={tmp}/data"),
        ("{tmp}/file",),
        _file,
    ),
    Case(
        "a row that is none",
        "reproduce",
        ("--out={tmp}/out", "--only=model99", "--dry_run"),
        ("model99",),
    ),
    Case(
        "a row under another protocol",
        "reproduce",
        ("--out={tmp}/out", "--only=own/luck", "--dry_run"),
        ("--only=own/luck",),
    ),
    Case(
        "a protocol that is none",
        "reproduce",
        ("--protocols=luck", "--dry_run"),
        ("--protocols", "luck"),
    ),
    Case(
        "a field that is none",
        "reproduce",
        ("--out={tmp}/out", "--set=learning_rat=1", "--dry_run"),
        ("--set=learning_rat=1",),
    ),
    Case(
        "a field without a value",
        "reproduce",
        ("--out={tmp}/out", "--set=seed", "--dry_run"),
        ("--set=seed",),
    ),
    Case(
        "a field with code",
        "reproduce",
        ("--out={tmp}/out", "--set=seed=__import__('os').mkdir('harm')", "--dry_run"),
        ("--set=seed=",),
    ),
    Case(
        "a field nested ten thousand deep",
        "reproduce",
        ("--out={tmp}/out", "--set=seed=" + "[" * 10_000, "--dry_run"),
        ("--set=seed=",),
    ),
    Case("no seeds", "reproduce", ("--out={tmp}/out", "--seeds=0", "--dry_run"), ("--seeds=0",)),
    Case(
        "a folder of images that is not there",
        "reproduce",
        (
            "--out={tmp}/out",
            "--sipakmed={tmp}/none",
            "--data_dir={tmp}/data",
            "--only=own",
            "--dry_run",
        ),
        ("{tmp}/none",),
    ),
    Case(
        "a cross-validation with a cut report",
        "main",
        (SMALL, "--config.cross_validation.seeds=1", "--workdir={tmp}/new"),
        ("{tmp}/new/seed0/fold0/evaluate/test.json",),
        lambda tmp: write(tmp / "new/seed0/fold0/evaluate/test.json", "{"),
    ),
    Case(
        "a cross-validation with an old report",
        "main",
        (SMALL, "--config.cross_validation.seeds=1", "--workdir={tmp}/new"),
        ("{tmp}/new/seed0/fold0/evaluate/test.json", "has no dataset"),
        lambda tmp: write(tmp / "new/seed0/fold0/evaluate/test.json", "{}"),
    ),
    Case(
        "shortcuts that are cut",
        "reproduce",
        ("--out={tmp}/out", "--data_dir={tmp}/data", "--only=own"),
        ("{tmp}/out/shortcuts.json",),
        lambda tmp: write(tmp / "out/shortcuts.json", "{"),
    ),
]

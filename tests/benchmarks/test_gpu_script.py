"""benchmarks/gpu.sh: every command that it would run exists with every flag that it passes."""

import json
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = [(part, rehearse) for part in ("1", "2") for rehearse in ("", "1")]


def commands(part: str, rehearse: str) -> list[list[str]]:
    told = subprocess.run(
        ["bash", "benchmarks/gpu.sh", part], cwd=ROOT, text=True, capture_output=True, check=True,
        env=os.environ | {"DRY_RUN": "1", "REHEARSE": rehearse, "OUT": "out", "CELLS": "cells"},
    ).stdout  # fmt: skip
    return [shlex.split(line) for line in told.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("part", ["1", "2"])
def test_rehearsal_runs_the_same_steps(part):
    def outline(lines: list[list[str]]) -> list[list[str]]:
        small = ("--config.", "--image_size", "--nocheck_counts")
        return [
            [word.split("=")[0] for word in line if not word.startswith(small)] for line in lines
        ]

    real, small = (outline(commands(part, rehearse)) for rehearse in ("", "1"))
    assert real == small
    assert len(real) >= 5


def test_an_unknown_part_is_refused():
    done = subprocess.run(["bash", "benchmarks/gpu.sh", "3"], cwd=ROOT, capture_output=True)
    assert done.returncode == 2


def distinct() -> dict[tuple[str, ...], list[str]]:
    """The commands of all parts, one for each set of flags."""
    return {
        (*command[1:3], *(word.split("=")[0] for word in command[3:])): command
        for part, rehearse in PARTS
        for command in commands(part, rehearse)
    }


def test_configs_exist():
    given = [word for command in distinct().values() for word in command if "configs/" in word]
    assert given
    for word in given:
        assert (ROOT / word.removeprefix("--config=").split(":")[0]).exists()


@pytest.mark.slow
def test_every_flag_exists():
    for command in distinct().values():
        assert command[0] == "python3"
        known = subprocess.run(
            [sys.executable, "-c", PARSE, *command[1:]], cwd=ROOT, text=True, capture_output=True,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"},
        )  # fmt: skip
        assert known.returncode == 0, f"{shlex.join(command)}: {known.stderr}"
        assert "parsed" in known.stdout


# Runs a command until its flags are parsed.
PARSE = """
import argparse, runpy, sys

def stop(*unused):
    print("parsed")
    raise SystemExit(0)

parse_args = argparse.ArgumentParser.parse_args
argparse.ArgumentParser.parse_args = lambda self: stop(parse_args(self))
words = sys.argv[1:]
if words[0] == "-m":
    from cervix_jax.command import run
    from absl import flags
    def parse_only(main, *unused, **options):
        flags.FLAGS(sys.argv)
        if "config" in flags.FLAGS:
            from cervix_jax.config.fields import check_fields
            check_fields(flags.FLAGS.config, "the command")
        stop()
    run.run_command = parse_only
    sys.argv = words[1:]
    runpy.run_module(words[1], run_name="__main__")
else:
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
"""


@pytest.fixture
def results(tmp_path):
    """What gpu.sh leaves: a row of speed, maps, a finished run, and one that was cut off."""
    side = {
        "version": "v 1", "compile_s": 2.0, "memory_gib": 1.0, "images_per_s": 130.0,
        "lowest": 120.0, "highest": 140.0, "step_ms": 10.0, "turns": [],
    }  # fmt: skip
    row = {
        "model": "resnet50", "task": "train", "batch_size": 128, "size": 224, "agree": True,
        "logit_error": 0.0, "device": "NVIDIA Test", "matrix_flops_per_s": 7e14,
        "jax": side, "torch": side, "fastest_torch": "torch", "ratio": 1.1, "ratios": [1.0, 1.2],
        "processor_ratio": 1.0, "processor_ratios": [1.0, 1.0], "share_of_matrix_rate": 0.4,
    }  # fmt: skip
    (tmp_path / "throughput_train.json").write_text(json.dumps([row]))
    explained = {
        "batch_size": 8, "first_s": 1.0, "memory_gib": 1.0, "version": "v 1", "machine": "A card",
    }  # fmt: skip
    sides = {name: explained | {"seconds_an_image": [seconds]}
             for name, seconds in {"here": 0.1, "captum": 0.2, "loop": 0.9}.items()}  # fmt: skip
    record = {"images": 8, "baselines": 10, "steps": 50, "image_size": 224, "agree": False}
    record |= {"precision": "float32", "sides": sides}
    (tmp_path / "explain.json").write_text(json.dumps(record))
    runs = tmp_path / "runs"
    for name, epochs in (("rcan", 2), ("resnet50", 1)):
        folder = runs / name
        (folder / "evaluate").mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"image_size": 224, "num_epochs": 2}))
        lines = [json.dumps({"epoch": n + 1, "images_per_second": 100.0}) for n in range(epochs)]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        if epochs == 2:
            test = {"accuracy": 0.9, "accuracy_interval": [0.85, 0.95], "n": 409}
            (folder / "evaluate" / "test.json").write_text(json.dumps(test))
    with tarfile.open(tmp_path / "runs_1.tgz", "w:gz") as archive:
        archive.add(runs, "runs")
    return tmp_path


def test_table_of_results(results, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_table

    text = gpu_table.report(results)
    assert "| resnet50 | train | 128 | 130.00 (120.00 to 140.00) |" in text
    assert "NVIDIA Test, matrix rate 700.00 TFLOP/s" in text
    assert "resnet50, train: 1.10 times PyTorch, goal 1.2: missed" in text
    assert "THE MAPS DIFFER" in text
    assert "loop takes 9.00 times as long at least, goal 5.0: reached" in text
    assert "| rcan | 224 | 2 of 2 | 90.00% (85.0 to 95.0) | 409 | 100 |" in text
    assert "| resnet50 | 224 | 1 of 2 | not evaluated |  | 100 |" in text
    missing = text.splitlines()[-1]
    assert missing.startswith("Missing: ")
    assert "throughput_infer.json" in missing
    assert "machine_1.json" in missing


def test_cells_to_travel(tmp_path):
    from PIL import Image

    folder = tmp_path / "raw" / "im_Parabasal" / "im_Parabasal" / "CROPPED"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        Image.new("RGB", (30, 20), (200, 100, 50)).save(folder / f"001_0{number}.bmp")
    command = [sys.executable, str(ROOT / "benchmarks/gpu_cells.py"), str(tmp_path / "raw")]
    out = tmp_path / "out"
    subprocess.run([*command, str(out), "--side=16", "--each=2"], check=True, capture_output=True)
    copies = sorted(path.relative_to(out) for path in out.rglob("*.jpg"))
    assert [str(path) for path in copies] == [
        f"im_Parabasal/im_Parabasal/CROPPED/001_0{number}.jpg" for number in (1, 2)
    ]
    with Image.open(out / copies[0]) as image:
        assert image.size == (16, 16)
    refused = subprocess.run([*command[:-1], str(out / "no"), str(out)], capture_output=True)
    assert b"has no folder" in refused.stderr
    assert refused.returncode == 1

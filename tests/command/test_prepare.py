"""The command `prepare`, and how every command treats bad flags."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selection import few

ROOT = Path(__file__).parents[2]
CLASSES = ("Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate")


def command(*args, cwd=ROOT, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        **kwargs,
    )


def refused(result: subprocess.CompletedProcess) -> str:
    """The one line of an input error."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2, result.stderr
    assert len(errors) == 1
    assert "Traceback" not in result.stderr
    return errors[0]


# --- prepare ------------------------------------------------------------------------------------


def test_prepare_prints_a_summary(tmp_path):
    for number, name in enumerate(CLASSES, 1):
        folder = tmp_path / "raw" / f"im_{name}" / "CROPPED"
        folder.mkdir(parents=True)
        for cell in range(number):
            pixels = np.random.default_rng(cell).integers(0, 256, (9, 9, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"001_0{cell}.bmp")
    args = ("-m", "cervix_jax.prepare", "--dataset=sipakmed/single_cell")
    args += (f"--manual_dir={tmp_path / 'raw'}", f"--data_dir={tmp_path / 'data'}")
    message = refused(command(*args))
    assert "im_Dyskeratotic has 1, expected 813" in message
    assert "--nocheck_counts" in message
    result = command(*args, "--nocheck_counts")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("sipakmed/single_cell 1.0.0"))
    assert "15 examples, 5 groups (cluster_id)" in lines[start]
    assert [line.split() for line in lines[start + 2 : start + 7]] == [
        [name, str(number), "1"] for number, name in enumerate(CLASSES, 1)
    ]
    assert lines[-1] == f"in {tmp_path / 'data/sipakmed/single_cell/1.0.0'}"


@pytest.mark.slow
def test_prepare_instructions_and_bad_flags():
    prepare = ("-m", "cervix_jax.prepare")
    result = command(*prepare, "--dataset=sipakmed/multi_cell", "--instructions")
    assert result.returncode == 0
    assert re.search(r"im_Metaplastic.7z +1,396,480,123 bytes", result.stdout)
    assert "--dataset is missing" in refused(command(*prepare))
    assert "did you mean 'multi_cell'" in refused(command(*prepare, "--dataset=sipakmed/multicell"))
    message = refused(command(*prepare, "--dataset=sipakmed/multi_cell", "--manual_dir=/no/such"))
    assert "manual_dir=/no/such: does not exist" in message
    assert "Did you mean: dataset" in refused(command(*prepare, "--datset=x"))
    assert "unexpected argument 'single_cell'" in refused(command(*prepare, "single_cell"))
    assert command(*prepare, "--help").returncode == 0


# --- commands with a config ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "config.py").write_text(
        textwrap.dedent("""
        from ml_collections import config_dict
        from cervix_jax.errors import InputError

        def get_config(arg=""):
            if arg == "input":
                raise InputError("config argument 'input' is no data set.")
            if arg == "bug":
                raise TypeError("a bug in the config")
            return config_dict.ConfigDict(
                {"seed": 0, "batch_size": 8, "on": True, "data": {"dataset": "a", "placement": "b"}}
            )
        """)
    )
    (folder / "syntax.py").write_text("def get_config(:\n")
    (folder / "program.py").write_text(
        textwrap.dedent("""
        import signal
        from absl import flags
        from ml_collections import config_flags
        from cervix_jax.command.run import run_command
        from cervix_jax.errors import InputError

        CONFIG = config_flags.DEFINE_config_file("config", None, "The config.", lock_config=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
        DO = flags.DEFINE_enum("do", "print", ["print", "input", "crash", "wait", "code"], "What.")

        def main(argv):
            if DO.value == "input":
                raise InputError("first\\nsecond")
            if DO.value == "crash":
                raise RuntimeError("a real failure")
            if DO.value == "code":
                return 75
            if DO.value == "wait":
                print("waiting", flush=True)
                import time
                time.sleep(30)
            config = CONFIG.value
            print(config.seed, config.batch_size, config.data.dataset, config.on, argv[1:])

        if __name__ == "__main__":
            import sys
            positional = "--positional" in sys.argv
            sys.argv = [a for a in sys.argv if a != "--positional"]
            run_command(main, default_config="config.py", positional=positional)
        """)
    )
    return folder


@pytest.mark.parametrize(
    ("args", "expected"),
    few(
        [
            ([], "0 8 a True []"),
            (["--config.seed=3", "--noconfig.on"], "3 8 a False []"),
            (["--config=config.py", "--config.data.dataset=x/y"], "0 8 x/y True []"),
            (["--config.seed=3", "--config=config.py"], "3 8 a True []"),
            (["--config.seed", "4", "--config", "config.py:arg"], "4 8 a True []"),
            (
                ["--positional", "a.png", "--config.seed=1", "b.png"],
                "1 8 a True ['a.png', 'b.png']",
            ),
        ]
    ),
)
def test_config_flags_in_any_order(program, args, expected):
    result = command("program.py", *args, cwd=program)
    assert result.stdout.strip() == expected, result.stderr


@pytest.mark.parametrize(
    ("args", "parts"),
    few(
        [
            (["--config.nope=1"], ["--config.nope", "no field 'nope'", "fields: batch_size, data"]),
            (["--config.data.dataste=x"], ["no field 'data.dataste'", "--config.data.dataset?"]),
            (["--config.batchsize=4"], ["no field 'batchsize'", "mean --config.batch_size?"]),
            (["--config.placement=x"], ["mean --config.data.placement?"]),
            (["--config.seed.x=3"], ["no field 'seed.x'"]),
            (["--config.seed=abc"], ["--config.seed=abc", "invalid literal for int"]),
            (["--config.batch_size=1.5"], ["--config.batch_size=1.5"]),
            (["--config.on=maybe"], ["--config.on=maybe"]),
            (["--config.data=3"], ["--config.data=3"]),
            (["--config=missing.py"], ["--config=missing.py", "cannot be read", "no such file"]),
            (["--config=missing.py", "--config.seed=1"], ["--config=missing.py", "cannot be read"]),
            (["--config="], ["--config=", "cannot be read"]),
            (["--config=config.py:input"], ["config argument 'input' is no data set."]),
            (
                ["--config=config.py:bug"],
                ["--config=config.py:bug: TypeError: a bug in the config"],
            ),
            (["--config=syntax.py"], ["SyntaxError", "syntax.py"]),
            (["--condig.seed=1"], ["condig.seed"]),
            (["--do=nothing"], ["--do=nothing", "print|input|crash"]),
            (["--do"], ["Missing value for flag --do"]),
            (["--do=input"], ["error: first second"]),
            (["stray"], ["unexpected argument 'stray'"]),
        ],
        4,
    ),
)
def test_bad_flags_give_one_line_and_exit_code_2(program, args, parts):
    message = refused(command("program.py", *args, cwd=program))
    for part in parts:
        assert part in message


@pytest.mark.slow
def test_other_endings(program):
    result = command("program.py", "--do=crash", cwd=program)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert command("program.py", "--do=code", cwd=program).returncode == 75


def test_ctrl_c_is_quiet(program):
    process = subprocess.Popen(
        [sys.executable, "program.py", "--do=wait"],
        cwd=program,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_settings_vary_the_data_set(tmp_path):
    args = ("-m", "cervix_jax.prepare", "--dataset=cervix_phantom/single_cell")
    small = ("--setting=clusters_per_class=2", "--setting=cells_per_cluster=1")
    result = command(*args, f"--data_dir={tmp_path}", *small)
    assert result.returncode == 0, result.stderr
    assert "10 examples" in result.stdout


@pytest.mark.parametrize("setting", few(["size=3", "confounding", "seed=x"], 1))
def test_settings_that_are_none_are_refused(setting):
    args = ("-m", "cervix_jax.prepare", "--dataset=cervix_phantom/single_cell")
    assert setting in refused(command(*args, f"--setting={setting}"))

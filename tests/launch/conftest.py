import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "launch"), str(ROOT / "tests")]


@pytest.fixture
def executable(tmp_path, monkeypatch):
    """Makes an executable of that name, before all others on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, text: str, interpreter: str = sys.executable) -> Path:
        path = folder / name
        path.write_text(f"#!{interpreter}\n{text}")
        path.chmod(0o755)
        return path

    return make

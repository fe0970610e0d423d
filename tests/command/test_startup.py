import importlib.util

import pytest

from cervix_jax.command import startup


@pytest.mark.parametrize("vendor", ["0x1ae0", "0x8086"])
@pytest.mark.parametrize("installed", [True, False])
def test_libtpu_is_told_that_there_is_no_tpu(monkeypatch, tmp_path, vendor, installed):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    environment = {"TPU_WORKER_ID": "7"}
    monkeypatch.setattr(startup.os, "environ", environment)
    (tmp_path / "0000:00:04.0").mkdir()
    (tmp_path / "0000:00:04.0/vendor").write_text(f"{vendor}\n")
    startup.quieten_absent_tpu(tmp_path)
    quiet = installed and vendor != "0x1ae0"
    assert environment.get("TPU_SKIP_MDS_QUERY") == ("1" if quiet else None)
    assert environment["TPU_WORKER_ID"] == "7"

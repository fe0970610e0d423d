import sys

import pytest
from absl import app
from bad_case import call


@pytest.fixture(scope="session")
def in_process():
    """absl's `app.run` without what it does once a process (handlers for logging and faults)."""

    def run(main, flags_parser):
        sys.exit(main(flags_parser(sys.argv)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "run", run)
        yield


@pytest.fixture(scope="session")
def finished_run(in_process, tmp_path_factory, request):
    """A finished run of tests/small.py, and the folder of its prepared data."""
    folder = tmp_path_factory.mktemp("finished")
    root = request.config.rootpath
    code, _, err = call(
        "main", [f"--config={root}/tests/small.py:{folder / 'data'}", f"--workdir={folder / 'run'}"]
    )
    assert code == 0, err
    return folder / "run", folder / "data"

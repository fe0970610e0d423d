"""Finds the config files of `configs/` in a checkout and in an installed package."""

from pathlib import Path

# In a wheel `configs/` is inside this package, in a checkout beside it.
_HOMES = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


def packaged_config(name: str) -> Path | None:
    """Path of the package's config file with a name such as `rcan.py`; None if there is none."""
    return next((home / name for home in _HOMES if (home / name).is_file()), None)


def find_config(path: str) -> str:
    """The file to which `--config=<path>` refers.

    A file in the working directory takes precedence. Otherwise `configs/<name>` and `<name>` refer
    to the package's config file of that name. Any other path is returned unchanged.
    """
    if Path(path).is_file() or Path(path).parent not in (Path("configs"), Path()):
        return path
    return str(packaged_config(Path(path).name) or path)

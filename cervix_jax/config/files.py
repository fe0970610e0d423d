"""Where the config files of `configs/` are, in a checkout and in an installed package."""

from pathlib import Path

# Inside this package in a wheel, beside it in a checkout.
_HOMES = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


def packaged_config(name: str) -> Path | None:
    """The package's own config file of that name, e.g. `rcan.py`, or None."""
    return next((home / name for home in _HOMES if (home / name).is_file()), None)


def find_config(path: str) -> str:
    """The file that `--config=<path>` means.

    A file of the working directory comes first. `configs/<name>`, or `<name>` alone, that is not
    there is the package's own file of that name. What is neither is given back as it is.
    """
    if Path(path).is_file() or Path(path).parent not in (Path("configs"), Path()):
        return path
    return str(packaged_config(Path(path).name) or path)

"""The list of commands (`cervix <command>`, `python -m cervix_jax`) and errors for wrong names."""

import ast
import difflib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS = (
    "prepare", "audit", "main", "evaluate", "predict", "explain", "report", "export", "compile",
    "reproduce",
)  # fmt: skip
TOOLS = ("config.page",)  # also run with -m, but only by developers of this package
_MEANT = {
    "train": "main", "training": "main", "fit": "main", "run": "main", "runs": "main",
    "test": "evaluate", "eval": "evaluate", "validate": "evaluate", "statistics": "evaluate",
    "infer": "predict", "inference": "predict", "classify": "predict",
    "explanations": "explain", "saliency": "explain", "data": "prepare", "download": "prepare",
}  # fmt: skip
_PACKAGE = Path(__file__).parents[1]
EXIT_BAD_INPUT = 2


def main() -> None:
    """The console script `cervix`, and `python -m cervix_jax`."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("--help", "-help", "-h", "help"):
        print(listing())
        return
    name = arguments[0]
    if name not in COMMANDS:
        _refuse(f"{name!r} is not a command", name)
    require_jax()
    sys.argv = [name, *arguments[1:]]
    runpy.run_module(f"cervix_jax.{name}", run_name="__main__", alter_sys=True)


def listing() -> str:
    """All commands with a one-line description of each."""
    rows = [f"  {name:<10} {_summary(name)}" for name in COMMANDS]
    return "\n".join(
        [
            "Usage: cervix <command> [flags], or python -m cervix_jax.<command> [flags]",
            "",
            *rows,
            "",
            "cervix <command> --help lists the flags of a command. A first run, on synthetic "
            "images:",
            "  cervix main --config=configs/rcan.py",
        ]
    )


def check_module(original: Sequence[str]) -> None:
    """Exit with an error if `python -m` names a module of this package that is not a command.

    Without this check Python would run some modules without any effect, and report a missing
    `__main__` for others.

    Args:
      original: the command line of Python, `sys.orig_argv`.
    """
    name = _module(original)
    if name in COMMANDS:
        require_jax()
    elif name and name not in TOOLS:
        _refuse(f"python -m cervix_jax.{name} is not a command", name)


def require_jax() -> None:
    """Exit with an error if an environment variable prevents the import of JAX."""
    try:
        import jax  # noqa: F401
    except ValueError as error:
        _end(f"{error}; unset that environment variable, or set it to a value that JAX accepts.")


def _module(original: Sequence[str]) -> str:
    """The `<name>` of `python -m cervix_jax.<name>`; "" for any other command line."""
    for option, value in zip(original, [*original[1:], ""], strict=True):
        if option.startswith("-") and not option.startswith("--"):
            before, _, joined = option.partition("m")
            if before.strip("-bBdEhiIOPqsSuvx") == "" and "m" in option:
                return _own(joined or value)
    return ""


def _own(module: str) -> str:
    return module.removeprefix("cervix_jax.") if module.startswith("cervix_jax.") else ""


def _refuse(what: str, name: str) -> None:
    top = name.split(".")[0].lower()
    near = difflib.get_close_matches(top, COMMANDS, n=1)
    meant = top if top in COMMANDS else _MEANT.get(top) or (near[0] if near else "")
    hint = f"; did you mean python -m cervix_jax.{meant}?" if meant else "."
    _end(f"{what}{hint} The commands are {', '.join(COMMANDS)}.")


def _end(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT)


def _summary(name: str) -> str:
    """The first paragraph of a command's docstring, read from the file.

    Importing the module instead would take seconds.
    """
    file = _PACKAGE / f"{name}.py"
    file = file if file.is_file() else _PACKAGE / name / "__main__.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())

"""Start and exit of all commands; bad input gives one line on stderr and exit code 2."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from cervix_jax import progress
from cervix_jax.command.flags import progress_flag
from cervix_jax.command.help import usage, wants_help
from cervix_jax.config.files import find_config
from cervix_jax.errors import InputError
from cervix_jax.files.lock import held
from cervix_jax.files.paths import user_path
from cervix_jax.files.storage import storage_problem

flags.disclaim_key_flags()  # --progress belongs to the command that is run
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_PREEMPTED = 75  # saved, then stopped; repeating the command resumes (EX_TEMPFAIL)
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells
EXIT_UNREAD = 141  # 128 + SIGPIPE, as in shells if the reader of a pipe (e.g. `head`) has ended


def run_command(
    main: Callable[[list[str]], Any],
    *,
    default_config: str | None = None,
    positional: bool = False,
    groups: Mapping[str, Sequence[str]] | None = None,
    devices: bool = True,
    alone: bool = True,
) -> None:
    """Parse the flags of `sys.argv`, call `main(argv)` and exit.

    Exit codes: the return value of `main` (None is 0); 2 for an `InputError`, for invalid flags and
    for storage that is full or unusable; 130 for Ctrl-C; 141 if the reader of the output has ended.
    Any other exception prints its traceback and exits with 1.

    Args:
      main: called with the program name and the positional arguments.
      default_config: value of `--config` if the command line has none. Give it here and None to
        `DEFINE_config_file`, which would otherwise parse the command line on import.
      positional: whether arguments without a flag are allowed.
      groups: the groups of flags in `--help`, by title.
      devices: whether to check that the devices requested by JAX_PLATFORMS are available. Set it to
        False if the processes of a run must connect first.
      alone: whether to lock the output against other commands. Set it to False if the processes of
        a run share the lock, as in training.
    """

    def begin(argv: list[str]) -> Any:
        # Imports JAX, which `--help` does not need.
        from cervix_jax.command.startup import require_devices, start_jax

        if flags.FLAGS.progress != progress.mode():  # given as two words
            progress.start(flags.FLAGS.progress, _command_name())
        start_jax()
        if devices:
            require_devices()
        _expand_homes()
        with _alone() if alone else contextlib.nullcontext():
            return main(argv)

    progress_flag()
    _show_progress()
    _quieten_libraries()
    try:
        _run(begin, default_config, positional, groups or {})
    except SystemExit as error:
        progress.end(error.code if isinstance(error.code, int) else int(error.code is not None))
        raise
    progress.end(0)


def _run(
    begin: Callable[[list[str]], Any],
    default_config: str | None,
    positional: bool,
    groups: Mapping[str, Sequence[str]],
) -> None:
    """Parse the flags and call `begin`; ends with `SystemExit`, or with what is not foreseen."""
    try:
        sys.argv = _config_first(sys.argv, default_config)

        def parse(argv: Sequence[str]) -> list[str]:
            if wants_help(argv):
                print(usage(groups, _given_config(argv)))
                sys.exit(0)
            remaining = _parse_flags(argv)
            if len(remaining) > 1 and not positional:
                raise InputError(
                    f"unexpected argument {remaining[1]!r}; write options as --name=value."
                )
            return remaining

        try:
            app.run(begin, flags_parser=parse)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if sys.stdout is not None:  # discard the remaining output
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_UNREAD)
    except InputError as error:
        _fail(str(error))
    except app.UsageError as error:
        _fail(str(error))
    except Exception as error:
        problem = storage_problem(error)
        if problem is None:
            raise
        _fail(
            f"{getattr(error, 'filename', None) or 'a file'}: {problem}; free some space, or "
            "choose another folder."
        )
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def _show_progress() -> None:
    """Start as `--progress` says, before the flags are parsed, since that can fail too."""
    given = _given(sys.argv[1:], "progress")
    progress.start(given if given in progress.MODES else "bar", _command_name())


def _command_name() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__").rpartition(".")[2] if spec else "command"


def _expand_homes() -> None:
    """Expand `~` in --workdir=~/runs/a and --out=~/a.csv, which shells do not expand."""
    for name in ("out", "workdir"):
        given = flags.FLAGS[name].value if name in flags.FLAGS else None
        if given:
            flags.FLAGS[name].value = str(user_path(given, f"--{name}"))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Lock the output of this command: its `--out`, or its part of the `--workdir`."""
    given = {
        name: str(flags.FLAGS[name].value or "")
        for name in ("out", "workdir")
        if name in flags.FLAGS
    }
    with contextlib.ExitStack() as stack:
        if given.get("out"):
            stack.enter_context(held(given["out"], f"--out={given['out']}"))
        elif given.get("workdir") and Path(given["workdir"]).is_dir():
            command = _command_name()
            place = Path(given["workdir"]) / command
            stack.enter_context(held(place, f"{command} --workdir={given['workdir']}"))
        yield


def _quieten_libraries() -> None:
    """Log messages of this package, but only warnings of other libraries.

    Orbax alone logs 20 messages per checkpoint.
    """
    own = str(Path(__file__).parents[1])

    def keep(record: logging.LogRecord) -> bool:
        # TFDS warns of every config that is not registered by name, and lists all its fields.
        tfds = f"{os.sep}tensorflow_datasets{os.sep}" in record.pathname
        loud = logging.ERROR if tfds else logging.WARNING
        chatty = record.levelno < loud and not record.pathname.startswith(own)
        return not chatty or absl_logging.get_verbosity() > absl_logging.INFO

    absl_logging.get_absl_handler().addFilter(keep)


def _fail(message: str) -> None:
    line = " ".join(message.split())
    # File names may contain control sequences of terminals.
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    print(f"error: {safe}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT)


def _config_first(argv: Sequence[str], default: str | None) -> list[str]:
    """Put `--config` before its overrides, as ml_collections requires, and add the default.

    The path is replaced by the file that `find_config` finds.
    """
    program, rest = argv[0], list(argv[1:])
    options = rest[: rest.index("--")] if "--" in rest else rest
    given = default
    for number, argument in enumerate(options):
        if argument.startswith(("--config=", "-config=")):
            given = rest.pop(number).partition("=")[2]
            break
        if argument in ("--config", "-config") and number + 1 < len(options):
            given = rest.pop(number + 1)
            rest.pop(number)
            break
    if given is None:
        return [program, *rest]
    path, colon, argument = given.partition(":")
    return [program, f"--config={find_config(path)}{colon}{argument}", *rest]


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parse the flags into `flags.FLAGS`; any failure becomes an `InputError`."""
    try:
        remaining = flags.FLAGS(list(argv))
        for flag in _config_flags():
            # An unreadable config file raises an error only when the config is first accessed.
            if flag.value is not None and not hasattr(flag.value, "lock"):
                raise InputError(
                    f"--{flag.name}={_given(argv, flag.name)}: get_config returns "
                    f"{type(flag.value).__name__}; it must return an ml_collections.ConfigDict."
                )
    except SystemExit:
        sys.exit(0)  # --help and similar flags, for which absl would exit with 1
    except Exception as error:
        raise _explain(error, argv) from error
    return remaining


def _given_config(argv: Sequence[str]) -> Any:
    """The config that `argv` names; None if it cannot be read."""
    for flag in _config_flags():
        path = _given(argv, flag.name)
        try:
            return flag.parser.parse(path) if path and flag.parser else None
        except Exception:
            return None  # print the help without the fields
    return None


def _config_flags() -> Iterator[flags.Flag]:
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        if flag.parser is not None and flag.parser.flag_type() == "config object":
            yield flag


def _explain(error: BaseException, argv: Sequence[str]) -> InputError:
    cause = _root(error)
    if isinstance(cause, InputError):
        return cause
    given = {f.name: _given(argv, f.name) for f in _config_flags()}
    for flag in _config_flags():
        path = given[flag.name]
        if isinstance(cause, OSError) and path is not None:
            missing = not Path(path.partition(":")[0]).is_file()
            reason = "there is no such file" if missing else str(cause)
            return InputError(
                f"--{flag.name}={path}: the config cannot be read ({reason}); give a .py file that "
                "defines get_config."
            )
        unknown = _unknown_field(flag, path, argv)
        if unknown is not None:
            return unknown
        if isinstance(error, flags.IllegalFlagValueError) and "whilst parsing" in str(error):
            return InputError(f"--{flag.name}={path}: {type(cause).__name__}: {cause}")
    if isinstance(error, flags.Error):
        return InputError(f"{error}; --help lists the flags.")
    frames = traceback.extract_tb(cause.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    where = next((f"--{name}={path}" for name, path in given.items() if path), "the flags")
    return InputError(f"{where} cannot be read: {type(cause).__name__}: {cause}{place}")


def _root(error: BaseException) -> BaseException:
    """The exception that started the chain."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


def _given(argv: Sequence[str], name: str) -> str | None:
    for argument in argv:
        option, equals, value = argument.partition("=")
        if option.lstrip("-") == name and equals:
            return value
    return None


def _unknown_field(flag: flags.Flag, path: str | None, argv: Sequence[str]) -> InputError | None:
    """The error for the first override `--config.<field>` of an unknown field; None without one."""
    from cervix_jax.config.fields import meant_field  # imports JAX, so only when needed

    overrides = [a for a in argv if a.lstrip("-").removeprefix("no").startswith(f"{flag.name}.")]
    if path is None or not overrides or flag.parser is None:
        return None
    try:
        known = list(_fields(flag.parser.parse(path)))
    except Exception:
        return None  # the config file itself has an error, which is reported instead
    for override in overrides:
        option = override.partition("=")[0].lstrip("-")
        field = option[option.index(".") + 1 :]
        if field not in known:
            meant = meant_field(field, known, f"--{flag.name}.")
            return InputError(f"--{option}: {path} has no field {field!r}{meant}")
    return None


def _fields(config: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if hasattr(value, "items"):
            yield from _fields(value, f"{prefix}{key}.")

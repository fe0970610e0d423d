"""What `--help` of a command prints: what it does, an example, its flags in groups."""

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

WIDTH = 92
COLUMN = 26
HELP = ("--help", "-help", "-h", "--h", "--helpshort")


def wants_help(argv: Sequence[str]) -> bool:
    """Whether a command line asks for help before any `--`."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return any(option in HELP for option in options)


def usage(groups: Mapping[str, Sequence[str]], config: Any = None) -> str:
    """The help of the running command.

    Args:
      groups: titles and the names of flags below them; flags in no group come last.
      config: the config whose fields are listed, with their values.
    """
    module = sys.modules["__main__"]
    lines = [textwrap.dedent(module.__doc__ or "").strip()]
    own = {flag.name: flag for flag in flags.FLAGS.get_flags_for_module(module)}
    grouped = {name for names in groups.values() for name in names}
    rest = [name for name in own if name not in grouped]
    for title, names in [*groups.items(), ("Other flags" if groups else "Flags", rest)]:
        if names:
            lines += ["", f"{title}:", *(_describe(own[name]) for name in names)]
    if config is not None:
        lines += ["", "Fields of this config, set with --config.<field>=<value>:"]
        lines += [f"  {name} = {value!r}" for name, value in _values(config)]
    return "\n".join(lines)


def _describe(flag: flags.Flag) -> str:
    boolean = flag.parser is not None and flag.parser.flag_type() == "bool"
    name = f"--[no]{flag.name}" if boolean else f"--{flag.name}"
    text = " ".join((flag.help or "").split())
    if flag.default not in (None, "", []) and not boolean:
        value = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        text += f" [{value}]"
    elif boolean and flag.default is not None:
        text += f" [{'yes' if flag.default else 'no'}]"
    body = textwrap.wrap(text, WIDTH - COLUMN, break_on_hyphens=False, break_long_words=False)
    start = f"  {name}"
    first = f"{start:<{COLUMN}}" if len(start) < COLUMN else f"{start}\n{'':{COLUMN}}"
    return first + f"\n{'':{COLUMN}}".join(body)


def _values(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from _values(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

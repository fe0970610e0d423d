"""The text that `--help` of a command prints: description, examples and grouped flags."""

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

WIDTH = 92
COLUMN = 26
FIELD_COLUMN = 34
_REPEATED = "; repeat this option to specify a list of values"
HELP = ("--help", "-help", "-h", "--h", "--helpshort")


def wants_help(argv: Sequence[str]) -> bool:
    """Whether a command line contains a help flag before any `--`."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return any(option in HELP for option in options)


def usage(groups: Mapping[str, Sequence[str]], config: Any = None) -> str:
    """The help text of the running command.

    Args:
      groups: titles and the names of the flags below them; other flags come last.
      config: a config whose fields and values are listed; None lists none.
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
        lines += _fields(config)
    return "\n".join(lines)


def _describe(flag: flags.Flag) -> str:
    boolean = flag.parser is not None and flag.parser.flag_type() == "bool"
    name = f"--[no]{flag.name}" if boolean else f"--{flag.name}"
    text = " ".join((flag.help or "").split()).replace("<|", "<", 1)  # an empty choice
    if isinstance(flag, flags.MultiFlag):  # replaces the text that absl appends after a full stop
        text = text.removesuffix(_REPEATED).rstrip(".") + "; may be repeated."
    if flag.default not in (None, "", []) and not boolean:
        value = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        text += f" [{value}]"
    elif boolean and flag.default is not None:
        text += f" [{'yes' if flag.default else 'no'}]"
    return _columns(name, text, COLUMN)


def _columns(name: str, text: str, column: int) -> str:
    """A name and, from `column` on, a text wrapped at `WIDTH`.

    The text starts on the next line if the name is too long.
    """
    body = textwrap.wrap(text, WIDTH - column, break_on_hyphens=False, break_long_words=False)
    start = f"  {name}"
    if not body:
        return start
    first = f"{start:<{column}}" if len(start) < column else f"{start}\n{'':{column}}"
    return first + f"\n{'':{column}}".join(body)


def _fields(config: Any) -> Iterator[str]:
    """Each field with its value, meaning, and range or choices; sections are separated by lines."""
    from cervix_jax.config.fields import fields_of, leaves, section_of  # imports JAX: only here

    table = fields_of(str(config.get("data", {}).get("dataset", "")))
    order = list(table)
    sections = list(dict.fromkeys(map(section_of, order)))

    def place(field: tuple[str, Any]) -> tuple[int, int]:
        name, section = field[0], section_of(field[0])
        return (
            sections.index(section) if section in sections else len(sections),
            order.index(name) if name in table else len(order),
        )

    before = None
    for name, value in sorted(leaves(config), key=place):
        if section_of(name) != before:
            before = section_of(name)
            yield ""
        text = ""
        if name in table:
            setting = table[name]
            notes = [setting.limits()] if setting.limits() else []
            notes += [f"default {setting.default!r}"] if value is None else []
            # Keep a range on one line.
            kept = [
                note if "," in note else note.replace(" ", "\N{NO-BREAK SPACE}") for note in notes
            ]
            text = setting.meaning + (f" ({'; '.join(kept)})" if kept else "")
        line = _columns(f"{name} = {value!r}", text, FIELD_COLUMN)
        yield line.replace("\N{NO-BREAK SPACE}", " ")

"""Makes docs/config.md of the table of fields.

python -m cervix_jax.config.page > docs/config.md
"""

from collections.abc import Iterator, Mapping

from cervix_jax.config.fields import FIELDS, section_of
from cervix_jax.data import catalog
from cervix_jax.data.settings import Setting

TITLES = {
    "": "The run",
    "data": "Data",
    "split": "Split",
    "cross_validation": "Cross-validation",
    "model": "Network",
    "optimizer": "Optimiser",
    "loss": "Loss",
    "augment": "Augmentation",
    "checkpoint": "Checkpoints",
}
HEAD = """\
# Every field of a run

A field is set on the command line, `--config.<field>=<value>`, or in a config file (`configs/`).
The defaults below are those of the default recipe; configs, `recipe=paper` and the phantom, which
is made to be learned in minutes, have some others. `python -m cervix_jax.main --config=<file>
--help` lists what a config holds. Made by `python -m cervix_jax.config.page > docs/config.md`.
"""
SETTINGS = """\
## Variations of data sets

Set with `--config.data.settings.<setting>=<value>`, or `--setting=<setting>=<value>` of `prepare`,
`audit` and `explain`. In a config a setting that is not given is None.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for section in dict.fromkeys(map(section_of, FIELDS)):
        fields = {name: field for name, field in FIELDS.items() if section_of(name) == section}
        lines += [f"## {TITLES[section]}\n", *_table("field", fields), ""]
    lines += [SETTINGS]
    for builder, settings in _builders():
        lines += [f"### {builder}\n", *_table("setting", settings), ""]
    return "\n".join(lines).rstrip() + "\n"


def _builders() -> Iterator[tuple[str, dict[str, Setting]]]:
    """Builders with settings; one by one their data sets, where these differ in them."""
    for builder in catalog.BUILDERS:
        names = [name for name in catalog.dataset_names() if name.startswith(f"{builder}/")]
        settings = [catalog.known_settings(name) for name in names]
        if all(each == settings[0] for each in settings):
            names, settings = [builder], settings[:1]
        yield from ((name, own) for name, own in zip(names, settings, strict=True) if own)


def _table(head: str, fields: Mapping[str, Setting]) -> Iterator[str]:
    yield f"| {head} | default | meaning | range or choices |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        meaning, limits = (text.replace("|", r"\|") for text in (field.meaning, field.limits()))
        yield f"| `{name}` | `{field.default!r}` | {_plain(meaning)} | {limits} |"


def _plain(text: str) -> str:
    """Angle brackets and stars as such, which Markdown would take for its own."""
    return text.replace("<", r"\<").replace("*", r"\*")


if __name__ == "__main__":
    print(page(), end="")

import dataclasses

import numpy as np
import pytest

from cervix_jax.data import catalog
from cervix_jax.data.settings import (
    BuilderSettings,
    Setting,
    check_settings,
    register_settings,
    setting,
    settings_of,
    vary_settings,
)
from cervix_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Knobs:
    count: int = setting(3, "How many", 1, 9)
    share: float = setting(0.5, "How much", 0, 1)
    on: bool = setting(False, "Whether")
    edge: str = setting("black", "What lies outside", choices=("black", "white"))
    note: str = setting("", "Any text")

    def __post_init__(self):
        check_settings(self, "knob ")


def test_values_are_cast_to_their_type():
    knobs = Knobs(count=4.0, share=1, on=1, edge="white", note="x")
    assert dataclasses.astuple(knobs) == (4, 1.0, True, "white", "x")
    assert [type(value) for value in dataclasses.astuple(knobs)] == [int, float, bool, str, str]
    assert type(Knobs(count=np.int64(2), share=np.float32(0.25)).share) is float


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, "knob count=0: give a whole number from 1 to 9."),
        ({"count": 1.5}, "knob count=1.5: give a whole number from 1 to 9."),
        ({"count": True}, "knob count=True: give a whole number from 1 to 9."),
        ({"count": "2"}, "knob count='2': give a whole number from 1 to 9."),
        ({"share": float("nan")}, "knob share=nan: give a number from 0 to 1."),
        ({"share": None}, "knob share=None: give a number from 0 to 1."),
        ({"on": 2}, "knob on=2: give True or False."),
        ({"edge": "wite"}, "knob edge='wite' (did you mean 'white'?): give one of black, white."),
        ({"edge": 1}, "knob edge=1: give one of black, white."),
        ({"note": 1}, "knob note=1: give a text."),
    ],
)
def test_what_cannot_be_used_is_named_with_what_can(given, message):
    with pytest.raises(InputError) as caught:
        Knobs(**given)
    assert str(caught.value) == message


def test_variations():
    chosen, changed = vary_settings(Knobs(), {"share": 0.25, "count": 3}, "knob ")
    assert (chosen, changed) == (Knobs(share=0.25), {"share": 0.25})
    with pytest.raises(InputError) as caught:
        vary_settings(Knobs(), {"shore": 1}, "knob ", without=["note"])
    assert str(caught.value) == (
        "knob shore=1 is unknown; give one of count, share, on, edge (did you mean 'share'?)."
    )


def test_a_field_without_limits_cannot_be_registered():
    @dataclasses.dataclass(frozen=True)
    class Forgotten(Knobs):
        more: int = 3

    with pytest.raises(TypeError, match=r"Forgotten\.more has no limits"):
        register_settings("anything", BuilderSettings(Forgotten, vary_settings))


def test_defaults_and_use_may_differ_between_configs():
    settings = BuilderSettings(
        Knobs, vary_settings, {"many": {"count": 8}}, {"plain": ("edge", "note")}
    )
    assert settings.of_config("many")["count"] == Setting(8, "How many", 1, 9)
    assert list(settings.of_config("plain")) == ["count", "share", "on"]
    assert settings.of_config("whatever") == settings_of(Knobs)


def test_texts_of_a_command_line():
    assert settings_of(Knobs)["on"].parsed("True") is True
    assert settings_of(Knobs)["on"].parsed("perhaps") == "perhaps"  # refused when it is checked
    given = ["clusters_per_slide=2", "blur=0.5"]
    parsed = catalog.parse_data_settings("cervix_phantom/single_cell", given)
    assert parsed == {"clusters_per_slide": 2, "blur": 0.5}
    for text, message in (
        ("blur=much", "--setting=blur=much: give a number from 0 to 5 for blur"),
        ("blurr=1", r"--setting=blurr=1: .*blur.*\(did you mean 'blur'\?\)"),
        ("blur", "--setting=blur: cervix_phantom/single_cell takes seed, "),
    ):
        with pytest.raises(InputError, match=message):
            catalog.parse_data_settings("cervix_phantom/single_cell", [text])
    with pytest.raises(InputError, match="herlev/default takes no settings"):
        catalog.parse_data_settings("herlev/default", ["blur=1"])
    assert catalog.known_settings("nothing/like") == {}

"""How much of long tables and of random examples the default tests have."""

import os
from collections.abc import Sequence
from typing import Any

import pytest


def few(cases: Sequence[Any], fast: int = 2) -> list[Any]:
    """The cases of `pytest.mark.parametrize`, all but the first `fast` of them marked slow."""
    return [
        case
        if number < fast
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]


def tries(count: int) -> int:
    """How many random examples a property is tried on: all where CI is set, else a quarter."""
    return count if os.environ.get("CI") else max(5, count // 4)

"""Which cases of a long table the default tests have."""

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

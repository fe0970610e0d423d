"""Coarser classes: normal or abnormal, grades of lesions, classes of the Bethesda system."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from cervix_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Step:
    """Joins classes to fewer.

    Attributes:
      coarse: names of the joined classes, from harmless to worst.
      of: class -> name of the joined class it belongs to.
      source: who joins them so, and what can be said against it.
    """

    coarse: tuple[str, ...]
    of: Mapping[str, str]
    source: str


STEPS = (
    Step(
        coarse=("normal", "benign", "abnormal"),
        of={
            "Superficial-Intermediate": "normal",
            "Parabasal": "normal",
            "Metaplastic": "benign",
            "Koilocytotic": "abnormal",
            "Dyskeratotic": "abnormal",
        },
        source="Plissiti et al., ICIP 2018: the categories of SIPaKMeD's classes.",
    ),
    Step(
        coarse=("normal", "abnormal"),
        of={"normal": "normal", "benign": "normal", "abnormal": "abnormal"},
        source="Usual with SIPaKMeD: metaplastic cells are no lesion. Some papers leave them out.",
    ),
    Step(
        coarse=("NILM", "LSIL", "HSIL", "CIS"),
        of={
            "normal_superficiel": "NILM",
            "normal_intermediate": "NILM",
            "normal_columnar": "NILM",
            "light_dysplastic": "LSIL",
            "moderate_dysplastic": "HSIL",
            "severe_dysplastic": "HSIL",
            "carcinoma_in_situ": "CIS",
        },
        source="Bethesda system (Nayar and Wilbur 2015): mild dysplasia is LSIL, moderate and "
        "severe HSIL. Carcinoma in situ is HSIL there too; here it stays apart, as in Herlev.",
    ),
    Step(
        coarse=("normal", "abnormal"),
        of={"NILM": "normal", "LSIL": "abnormal", "HSIL": "abnormal", "CIS": "abnormal"},
        source="Jantzen et al. 2005: Herlev's classes 1 to 3 are normal, 4 to 7 abnormal.",
    ),
    Step(
        coarse=("NILM", "low-grade", "high-grade"),
        of={
            "NILM": "NILM",
            "ASC-US": "low-grade",
            "LSIL": "low-grade",
            "ASC-H": "high-grade",
            "HSIL": "high-grade",
            "SCC": "high-grade",
        },
        source="Usual with CRIC (Rezende et al. 2021): the equivocal classes of the Bethesda "
        "system go with the lesion they point to, carcinoma with the high-grade lesions.",
    ),
    Step(
        coarse=("normal", "abnormal"),
        of={"NILM": "normal", "low-grade": "abnormal", "high-grade": "abnormal"},
        source="Rezende et al. 2021: NILM is negative, every other class an altered cell.",
    ),
)


def levels(class_names: Sequence[str]) -> tuple[int, ...]:
    """The numbers of classes that these can be joined to, from many to few."""
    return tuple(len(step.coarse) for step in _chain(class_names))


def coarsen(class_names: Sequence[str], level: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Join classes to fewer.

    Args:
      class_names: the classes of SIPaKMeD, Herlev or CRIC, or joined ones, in any order.
      level: how many classes there shall be: SIPaKMeD 3 or 2, Herlev 4 or 2, CRIC 3 or 2.

    Returns:
      Names of the joined classes, from harmless to worst, and int64 [len(class_names)]: the number
      of the joined class of each class. `index[labels]` are the joined labels.

    Raises:
      InputError: the classes are not known, or not with that level.
    """
    steps = _chain(class_names)
    known = [len(step.coarse) for step in steps]
    if level not in known:
        given = ", ".join(class_names)
        raise InputError(
            f"hierarchies: the classes {given} cannot be joined to {level}; "
            + (f"choose {' or '.join(map(str, known))}." if known else "no hierarchy knows them.")
        )
    names = list(class_names)
    for step in steps[: known.index(level) + 1]:
        names = [step.of[name] for name in names]
    coarse = steps[known.index(level)].coarse
    return coarse, np.asarray([coarse.index(name) for name in names], np.int64)


def _chain(class_names: Sequence[str]) -> list[Step]:
    """The steps from these classes to the fewest."""
    chain: list[Step] = []
    current = set(class_names)
    while step := next((each for each in STEPS if set(each.of) == current), None):
        chain.append(step)
        current = set(step.coarse)
    return chain

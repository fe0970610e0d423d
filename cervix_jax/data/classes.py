"""The classes of the data sets: names, label order, severity, and coarser class systems."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from cervix_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class ClassSystem:
    """A set of classes used together.

    Attributes:
      names: class names in label order; merged classes run from harmless to worst.
      ordinal: whether each class is more severe than the one before, so that the distance
        between two classes is meaningful.
      coarser: the system of fewer classes that these are merged into; None if there is none.
      joined: maps each class to the class of `coarser` that contains it.
      source: source of the merge, and objections to it.
    """

    names: tuple[str, ...]
    ordinal: bool = False
    coarser: "ClassSystem | None" = None
    joined: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = ""


NORMAL_ABNORMAL = ClassSystem(("normal", "abnormal"))

SIPAKMED_CATEGORIES = ClassSystem(
    names=("normal", "benign", "abnormal"),
    coarser=NORMAL_ABNORMAL,
    joined={"normal": "normal", "benign": "normal", "abnormal": "abnormal"},
    source="Usual with SIPaKMeD: metaplastic cells are no lesion. Some papers leave them out.",
)
SIPAKMED = ClassSystem(
    names=(
        "Dyskeratotic",
        "Koilocytotic",
        "Metaplastic",
        "Parabasal",
        "Superficial-Intermediate",
    ),
    coarser=SIPAKMED_CATEGORIES,
    joined={
        "Superficial-Intermediate": "normal",
        "Parabasal": "normal",
        "Metaplastic": "benign",
        "Koilocytotic": "abnormal",
        "Dyskeratotic": "abnormal",
    },
    source="Plissiti et al., ICIP 2018: the categories of SIPaKMeD's classes.",
)

HERLEV_BETHESDA = ClassSystem(
    names=("NILM", "LSIL", "HSIL", "CIS"),
    ordinal=True,
    coarser=NORMAL_ABNORMAL,
    joined={"NILM": "normal", "LSIL": "abnormal", "HSIL": "abnormal", "CIS": "abnormal"},
    source="Jantzen et al. 2005: Herlev's classes 1 to 3 are normal, 4 to 7 abnormal.",
)
# Jantzen et al. 2005, classes 1 to 7, with the spelling of the official folders.
HERLEV = ClassSystem(
    names=(
        "normal_superficiel",
        "normal_intermediate",
        "normal_columnar",
        "light_dysplastic",
        "moderate_dysplastic",
        "severe_dysplastic",
        "carcinoma_in_situ",
    ),
    ordinal=True,
    coarser=HERLEV_BETHESDA,
    joined={
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
)

CRIC_GRADES = ClassSystem(
    names=("NILM", "low-grade", "high-grade"),
    ordinal=True,
    coarser=NORMAL_ABNORMAL,
    joined={"NILM": "normal", "low-grade": "abnormal", "high-grade": "abnormal"},
    source="Rezende et al. 2021: NILM is negative, every other class an altered cell.",
)
# The order of the Bethesda system (Nayar and Wilbur 2015) also determines the label of a field.
CRIC = ClassSystem(
    names=("NILM", "ASC-US", "LSIL", "ASC-H", "HSIL", "SCC"),
    ordinal=True,
    coarser=CRIC_GRADES,
    joined={
        "NILM": "NILM",
        "ASC-US": "low-grade",
        "LSIL": "low-grade",
        "ASC-H": "high-grade",
        "HSIL": "high-grade",
        "SCC": "high-grade",
    },
    source="Usual with CRIC (Rezende et al. 2021): the equivocal classes of the Bethesda "
    "system go with the lesion they point to, carcinoma with the high-grade lesions.",
)

SYSTEMS = (
    SIPAKMED, SIPAKMED_CATEGORIES, HERLEV, HERLEV_BETHESDA, CRIC, CRIC_GRADES, NORMAL_ABNORMAL
)  # fmt: skip
BUILT: Mapping[str, ClassSystem] = {
    "cervix_phantom": SIPAKMED, "cric": CRIC, "herlev": HERLEV, "sipakmed": SIPAKMED,
}  # fmt: skip
"""The classes of each builder; those of `image_folder` are the user's own."""


def order_of(class_names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the classes from harmless to worst, or None if they are not ordinal."""
    system = _find(class_names)
    return system.names if system and system.ordinal else None


def levels(class_names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of classes that these can be merged into, from many to few."""
    return tuple(len(system.names) for system in _coarser(class_names))


def coarsen(class_names: Sequence[str], level: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Merge classes into fewer classes.

    Args:
      class_names: the classes of SIPaKMeD, Herlev or CRIC, merged ones, or NILM with some other
        classes of CRIC, in any order.
      level: number of merged classes: SIPaKMeD 3 or 2, Herlev 4 or 2, CRIC 3 or 2.

    Returns:
      Names of the merged classes, from harmless to worst, and `index`, int64 [len(class_names)]:
      the number of the merged class of each class. `index[labels]` are the merged labels.

    Raises:
      InputError: the classes are unknown, or have no such level.
    """
    chain = _coarser(class_names)
    known = [len(system.names) for system in chain]
    if level not in known:
        given = ", ".join(class_names)
        raise InputError(
            f"hierarchies: the classes {given} cannot be joined to {level}; "
            + (
                f"choose {' or '.join(map(str, known))}."
                if known
                else "they belong to no known hierarchy."
            )
        )
    names, system = list(class_names), _find(class_names)
    for coarser in chain[: known.index(level) + 1]:
        names, system = [system.joined[name] for name in names] if system else names, coarser
    coarse = chain[known.index(level)].names
    return coarse, np.asarray([coarse.index(name) for name in names], np.int64)


def screening(class_names: Sequence[str]) -> np.ndarray | None:
    """Return which classes a screening test is meant to find.

    Args:
      class_names: class names of any data set, in any order.

    Returns:
      bool [len(class_names)], True for abnormal classes; None if no class is known to be negative
      (normal, NILM).
    """
    if sorted(class_names) == sorted(NORMAL_ABNORMAL.names):
        names, index = tuple(class_names), np.arange(2)
    elif 2 in levels(class_names):
        names, index = coarsen(class_names, 2)
    else:
        return None
    return index == names.index("abnormal")


def _find(class_names: Sequence[str]) -> ClassSystem | None:
    """Return the system of these classes, given in any order."""
    given = sorted(class_names)
    for system in SYSTEMS:
        if sorted(system.names) == given:
            return system
    if len(set(given)) == len(given) > 1 and "NILM" in given and {*given} < {*CRIC.names}:
        return _some_of_bethesda(frozenset(given))
    return None


@functools.cache
def _some_of_bethesda(given: frozenset[str]) -> ClassSystem:
    """Return the system of NILM and the given other Bethesda classes; few data sets have all."""
    names = tuple(name for name in CRIC.names if name in given)
    grades = {name: CRIC.joined[name] for name in names}
    if len(set(grades.values())) == len(CRIC_GRADES.names) < len(names):
        return dataclasses.replace(CRIC, names=names, joined=grades)
    joined = {name: CRIC_GRADES.joined[grade] for name, grade in grades.items()}
    return dataclasses.replace(CRIC, names=names, joined=joined, coarser=NORMAL_ABNORMAL)


def _coarser(class_names: Sequence[str]) -> list[ClassSystem]:
    """Return the systems that these classes can be merged into, from many classes to few."""
    chain: list[ClassSystem] = []
    system = _find(class_names)
    while system and system.coarser:
        chain.append(system := system.coarser)
    return chain

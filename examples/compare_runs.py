"""Compare two runs on the images that both were tested on, and list images they disagree on.

python examples/compare_runs.py runs/rcan runs/densenet121

Each argument is a run, a cross-validation, or a CSV file of predictions (columns filename, group,
label, p_<class>...).
"""

import sys

from cervix_jax import InputError
from cervix_jax.evaluate.sides import read_side
from cervix_jax.statistics.side_by_side import compare
from cervix_jax.statistics.table import PredictionTable, align

MOST = 20


def disagreements(first: PredictionTable, second: PredictionTable) -> list[str]:
    """Images that only one side classifies correctly, the most confident errors first."""
    second = align(first, second, ("A", "B"))  # in the order of the first
    rows = []
    for number, name in enumerate(first.filenames):
        sides = {"A": first, "B": second}
        right = [letter for letter, table in sides.items() if table.correct[number]]
        if len(right) == 1:
            wrong = sides["B" if right == ["A"] else "A"].probabilities[number]
            truth = first.class_names[first.labels[number]]
            said = f"{first.class_names[wrong.argmax()]} ({wrong.max():.2f})"
            rows.append((-wrong.max(), f"{name}: {truth}; only {right[0]} correct, other: {said}"))
    return [line for _, line in sorted(rows)]


def main(first: str, second: str) -> None:
    """Print the comparison, then the disagreements."""
    sides = read_side(first), read_side(second)
    print(compare(*sides).text())
    for member in sides[0].tables.keys() & sides[1].tables.keys():
        lines = disagreements(sides[0].tables[member], sides[1].tables[member])
        print(f"\nseed {member[0]}, fold {member[1]}: {len(lines)} images correct in one run only")
        print("\n".join(lines[:MOST]))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")

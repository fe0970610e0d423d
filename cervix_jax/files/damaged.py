"""Processing of many files that collects the errors of all unusable files in one report."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from absl import logging

from cervix_jax.errors import InputError
from cervix_jax.files.threads import map_in_order

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_MAX_NAMED = 20  # files in one message


class DamagedFiles(InputError):
    """Files that cannot be used.

    Attributes:
      count: number of files.
    """

    def __init__(self, errors: list[InputError], way_out: str = "leave them out with skip_damaged"):
        self._errors, self.count = errors, len(errors)
        reasons = [str(error).rstrip(".") for error in errors]
        if self.count == 1:
            super().__init__(f"{reasons[0]}, or {way_out}.")
            return
        more = f" ... and {self.count - _MAX_NAMED} more" if self.count > _MAX_NAMED else ""
        super().__init__(
            f"{self.count} files cannot be used: {' | '.join(reasons[:_MAX_NAMED])}{more}. "
            f"Repair them, or {way_out}."
        )

    def with_way_out(self, way_out: str) -> "DamagedFiles":
        """Return the same error with another hint on how to skip the files."""
        return DamagedFiles(self._errors, way_out)


class Damaged:
    """Collects the errors of files while the others are processed.

        damaged = Damaged(skip=False)
        for result in damaged.map(read, paths):
          ...
        damaged.report()

    Attributes:
      errors: errors of the unusable files so far.

    Args:
      skip: whether unusable files are left out.
    """

    def __init__(self, *, skip: bool = False):
        self.errors: list[InputError] = []
        self._skip = skip

    def map(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """Yield the results of the usable items in order, see `map_in_order`.

        Args:
          function: called by several threads at once; raises InputError for a damaged file.
          items: consumed as needed.
        """

        def attempt(item: _Item) -> tuple[_Result | None, InputError | None]:
            try:
                return function(item), None
            except InputError as error:
                return None, error

        for result, error in map_in_order(attempt, items):
            if error is not None:
                self.errors.append(error)
            else:
                yield result  # pyright: ignore[reportReturnType] # an item without an error

    def report(self) -> None:
        """Report the files that could not be used.

        Raises:
          DamagedFiles: there are such files, and `skip` is False.
        """
        if not self.errors:
            return
        if self._skip:
            logging.warning("%d damaged files are left out:", len(self.errors))
            for error in self.errors:
                logging.warning("left out: %s", error)
            return
        if len(self.errors) > _MAX_NAMED:
            for error in self.errors:
                logging.error("%s", error)
        raise DamagedFiles(self.errors)

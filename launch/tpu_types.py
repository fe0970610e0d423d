"""What `gcloud` must be told of each TPU generation.

From the pages on software versions and configurations of cloud.google.com/tpu/docs, as they were in
2026; `gcloud compute tpus accelerator-types list --zone=ZONE` says what a zone has.
"""

import dataclasses
import re


class LaunchError(Exception):
    """What was asked for cannot be done; the message is one line and says how to mend it."""


@dataclasses.dataclass(frozen=True)
class Generation:
    """One generation of TPUs.

    Attributes:
      runtime: runtime version, the image of its virtual machines.
      largest_host: the largest number in a type's name that still is one virtual machine.
      unit: what that number counts.
    """

    runtime: str
    largest_host: int
    unit: str


GENERATIONS = {
    "v6e": Generation("v2-alpha-tpuv6e", 8, "chips"),
    "v5litepod": Generation("v2-alpha-tpuv5-lite", 8, "chips"),
    "v5p": Generation("v2-alpha-tpuv5", 8, "TensorCores"),
    "v4": Generation("tpu-ubuntu2204-base", 8, "TensorCores"),
    "v3": Generation("tpu-ubuntu2204-base", 8, "TensorCores"),
    "v2": Generation("tpu-ubuntu2204-base", 8, "TensorCores"),
}


@dataclasses.dataclass(frozen=True)
class TpuType:
    """A type such as `v5litepod-8`: a generation, and how many units of it."""

    name: str
    generation: Generation
    units: int

    @property
    def one_host(self) -> bool:
        """Whether a slice of this type is one virtual machine."""
        return self.units <= self.generation.largest_host


def parse_type(name: str) -> TpuType:
    """The type of that name.

    Raises:
      LaunchError: the name is not `<generation>-<number>` of a generation in the table.
    """
    found = re.fullmatch(r"(\w+)-([1-9]\d*)", name)
    generation = GENERATIONS.get(found[1]) if found else None
    if generation is None or found is None:
        known = ", ".join(f"{key}-<{each.unit}>" for key, each in GENERATIONS.items())
        hint = " (v5e is called v5litepod)" if name.startswith("v5e") else ""
        raise LaunchError(f"--type={name} is unknown{hint}; give one of {known}, e.g. v5litepod-8.")
    return TpuType(name, generation, int(found[2]))

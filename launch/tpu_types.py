"""The TPU generations with the parameters that `gcloud` requires.

Source: the pages on software versions and configurations of cloud.google.com/tpu/docs, in 2026.
`gcloud compute tpus accelerator-types list --zone=ZONE` lists the types of a zone.
"""

import dataclasses
import re


class LaunchError(Exception):
    """A launch is not possible as requested; the message is one line and suggests a remedy."""


@dataclasses.dataclass(frozen=True)
class Generation:
    """One generation of TPUs.

    Attributes:
      runtime: runtime version, i.e. the image of the virtual machines.
      largest_host: largest number in a type's name that is still one virtual machine.
      unit: the unit of that number.
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
    """A type such as `v5litepod-8`: a generation and a number of units."""

    name: str
    generation: Generation
    units: int

    @property
    def one_host(self) -> bool:
        """Whether a slice of this type is one virtual machine."""
        return self.units <= self.generation.largest_host


def parse_type(name: str) -> TpuType:
    """The TPU type with a given name.

    Raises:
      LaunchError: the name is not `<generation>-<number>` with a generation of the table.
    """
    found = re.fullmatch(r"(\w+)-([1-9]\d*)", name)
    generation = GENERATIONS.get(found[1]) if found else None
    if generation is None or found is None:
        known = ", ".join(f"{key}-<{each.unit}>" for key, each in GENERATIONS.items())
        hint = " (the name of v5e is v5litepod)" if name.startswith("v5e") else ""
        raise LaunchError(f"--type={name} is unknown{hint}; give one of {known}, e.g. v5litepod-8.")
    return TpuType(name, generation, int(found[2]))

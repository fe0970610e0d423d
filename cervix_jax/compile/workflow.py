"""`compile_config`: compiles the programs of a config for a TPU, without a TPU."""

import dataclasses
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections

from cervix_jax import __version__
from cervix_jax.compile.chips import Slice, parse_topology
from cervix_jax.compile.devices import libtpu_version, slice_mesh
from cervix_jax.compile.estimate import (
    ASSUMPTIONS,
    compile_for_memory,
    from_two,
    largest_batch,
    program_facts,
)
from cervix_jax.compile.programs import PROGRAMS, Program, Subject
from cervix_jax.config.fields import MANY
from cervix_jax.data.classes import BUILT
from cervix_jax.errors import InputError, check_choice, check_count
from cervix_jax.files.atomic import replacing
from cervix_jax.training.check import check_config

LARGEST = ("estimate", "verify", "off")


def compile_config(
    config: ml_collections.ConfigDict,
    topology: str,
    *,
    batch_size: int = 0,
    num_classes: int = 0,
    programs: Sequence[str] = tuple(PROGRAMS),
    largest: str = "estimate",
    texts: str | Path = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Compile the programs of a config for a slice of TPUs; runs nothing and reads no data.

        compile_config(base_config("sipakmed/single_cell"), "v5e:2x4", batch_size=256)

    Args:
      config: config of a run.
      topology: see `chips.parse_topology`.
      batch_size: images of a step on all chips together, of every program; 0 takes the fields of
        the config (and 32 on one chip for integrated gradients). Explanations and exported
        programs run on one chip, with the images of one chip.
      num_classes: length of the logits; 0 takes the classes of the data set.
      programs: names, of `programs.PROGRAMS`.
      largest: how the largest batch is found: "estimate" from the one compilation, "verify" by a
        few more of the training step, "off" not at all.
      texts: a folder that the compiled texts are written to, `<program>.hlo.gz`; "" writes none.
      say: is given a line before each compilation.

    Returns:
      The report, JSON-ready: what was compiled, the chip, the assumptions, and by program what
      `estimate.program_facts` gives, and `largest_batch` of training.

    Raises:
      InputError: libtpu is not installed, there is no such slice, or the config or the batch
        cannot be used, or `texts` cannot be made.
    """
    for name in programs or [""]:
        check_choice("--programs", name, PROGRAMS)
    check_choice("--largest_batch", largest, LARGEST)
    check_count("--batch_size", batch_size, 0)
    check_count("--num_classes", num_classes, 0)
    place = parse_topology(topology)
    if batch_size % place.chips:
        near = max(place.chips, batch_size // place.chips * place.chips)
        raise InputError(
            f"--batch_size={batch_size} is not divisible by the {place.chips} chips of "
            f"{place.name}; use a multiple of {place.chips}, e.g. {near}."
        )
    config = config.copy_and_resolve_references()
    if batch_size:
        with config.unlocked():
            config.batch_size = batch_size
    check_config(config)
    if texts:  # before the minutes that compilations take
        try:
            Path(texts).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--texts={texts}: cannot be made ({error.strerror}); choose another folder."
            ) from error
    mesh = slice_mesh(place)
    subject = Subject(config, num_classes or _classes(config), mesh, batch_size // place.chips)
    report: dict[str, Any] = {
        "network": config.model.name,
        "dataset": config.data.dataset,
        "image_size": config.image_size,
        "num_classes": subject.num_classes,
        "topology": place.name,
        "chips": place.chips,
        "chip": {k: v for k, v in dataclasses.asdict(place.chip).items() if k != "topologies"},
        "versions": {
            "cervix_jax": __version__, "jax": jax.__version__, "libtpu": libtpu_version(),
        },
        "assumptions": list(ASSUMPTIONS),
        "programs": {},
    }  # fmt: skip
    lowered: dict[str, str] = {}
    for name in programs:
        say(f"{name}: tracing")
        program = subject.lower(name)
        text = program.lowered.as_text()
        same = next((other for other, known in lowered.items() if known == text), None)
        lowered[name] = text
        if same:
            shape = {"images": program.images, "chips": program.chips}
            shape |= {"images_a_chip": program.images_a_chip}
            report["programs"][name] = shape | {"same_as": same}
            continue
        say(f"{name}: compiling for {place.name}, which takes minutes for a large model")
        phase = "rest" if name == "train" else "forward"
        found, compiled = program_facts(program, place, phase=phase)
        if name == "train" and largest != "off":
            found["largest_batch"] = _largest(subject, program, found, place, largest, say)
        report["programs"][name] = found
        if texts and compiled:
            with replacing(Path(texts, f"{name}.hlo.gz")) as temporary:
                temporary.write_bytes(gzip.compress(compiled.encode()))
    return report


def _largest(
    subject: Subject,
    program: Program,
    found: dict[str, Any],
    place: Slice,
    how: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The largest batch of all chips together that fits, and the method that found it."""
    parts = subject.unit
    own, memory = program.images_a_chip, found["memory"]
    least = largest_batch(memory, own, program.batch_bytes / program.chips)
    if how == "estimate" or (not memory["fits"] and own <= parts):
        if least is not None:
            least = min(least, MANY // place.chips) // parts * parts
        images = None if least is None else least * place.chips
        return {"images": images, "how": "an estimate from this one compilation"}
    points = {own: memory} if memory["fits"] else {}
    tried = own
    while len(points) < 2 and tried > parts:
        tried = max(parts, (min(points, default=tried) // 2) // parts * parts)
        points |= _fitting(subject, tried, place, say)
    if own == parts:  # nothing is smaller
        points |= _fitting(subject, 2 * own, place, say)
    if len(points) < 2:
        best = max(points, default=0)
        return {
            "images": best * place.chips,
            "how": "the largest that fits of the compiled batches",
        }
    guess = min(from_two(points, place.chip.hbm), MANY // place.chips) // parts * parts
    if guess not in points:
        points |= _fitting(subject, guess, place, say)
    images = max(points) * place.chips
    verified = (
        "compiled and fits" if guess in points else "fits; the larger estimated batch does not"
    )
    return {"images": images, "how": verified}


def _fitting(
    subject: Subject, images_a_chip: int, place: Slice, say: Callable[[str], None]
) -> dict[int, dict[str, Any]]:
    say(f"train: compiling with {images_a_chip} images per chip to find the largest batch")
    program = dataclasses.replace(subject, images_a_chip=images_a_chip).lower("train")
    memory, _ = compile_for_memory(program, place)
    return {images_a_chip: memory} if memory["fits"] else {}


def _classes(config: ml_collections.ConfigDict) -> int:
    builder = str(config.data.dataset).partition("/")[0]
    if builder not in BUILT:
        raise InputError(
            f"config.data.dataset={config.data.dataset!r}: the classes are known only after it is "
            "read; give --num_classes."
        )
    return len(BUILT[builder].names)

"""The list of images: complete, sorted, lazy."""

import io
import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cervix_jax.data.decode import resize_square
from cervix_jax.errors import InputError
from cervix_jax.files.images import UnreadableImage
from cervix_jax.predict.image_rows import read_squares
from cervix_jax.predict.inputs import check_arguments, list_images


def test_folders_patterns_and_files_in_order(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "b/c/3.TiFf", "a.bmp", "b/notes.txt", "b/.4.png",
                 ".cache/5.png", "__MACOSX/6.png", "[x].png"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "b" / "c" / "up").symlink_to(tmp_path / "b")

    def names(*given):
        arguments = [str(tmp_path / each) for each in given]
        check_arguments(arguments)
        return [os.path.relpath(path, tmp_path) for path in list_images(arguments)]

    images = ["[x].png", "a.bmp", "b/1.png", "b/2.JPG", "b/c/3.TiFf"]
    assert names(".") == images
    assert names("b/notes.txt") == ["b/notes.txt"]
    assert names("[x].png") == ["[x].png"]
    assert names("b/*.[pJ]*", "a*") == ["b/1.png", "b/2.JPG", "a.bmp"]
    assert names("**/*.JPG")[0] == "b/2.JPG"
    assert names("b*") == images[2:]
    assert names("b/2.JPG", "b", "b/1.png") == ["b/2.JPG", "b/1.png", "b/c/3.TiFf"]
    with pytest.raises(InputError, match="no file matches"):
        names("*.gif")


NAME = st.binary(min_size=1).filter(lambda b: b"\0" not in b and not b.endswith(b"\r"))


@given(st.lists(NAME, unique=True), st.integers(1, 9), st.booleans())
def test_names_on_standard_input_survive_any_pieces(names, size, ended):
    class Slow(io.BytesIO):
        def read(self, n=-1):
            return super().read(min(size, n))

        read1 = read

    text = b"\0".join(names) + b"\0" * ended
    found = list(list_images(["-"], Slow(text), b"\0"))
    assert list(map(os.fsencode, found)) == names


def test_names_on_standard_input_are_taken_as_they_come():
    reader, writer = os.pipe()
    with open(reader, "rb") as stream, open(writer, "wb", buffering=0) as pipe:
        names = list_images(["-"], stream)
        for name in ("a.png", "b.png"):
            pipe.write(f"{name}\n".encode())
            assert next(names) == name  # the pipe is open; reading on would block


def test_reading_is_bounded_and_in_order(tmp_path):
    path = tmp_path / "a.png"
    image = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
    image.save(path)
    asked = []

    def paths():
        for number in itertools.count():
            asked.append(number)
            yield str(tmp_path / "gone.png") if number == 3 else str(path)

    squares = read_squares(paths(), lambda image: resize_square(image, 4), 256)
    for number in range(50):
        name, found = next(squares)
        assert isinstance(found, UnreadableImage) == (number == 3) == name.endswith("gone.png")
        if number != 3:
            np.testing.assert_array_equal(found, resize_square(image, 4))
        assert len(asked) <= number + 40
    squares.close()

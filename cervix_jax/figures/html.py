"""Self-contained HTML pages: templates, common style and embedded pictures."""

import base64
import io

import jinja2
import numpy as np
from PIL import Image


def template(package: str, name: str) -> jinja2.Template:
    """A template in which every value is text and no markup, and a missing one an error.

    It may include files beside it, and the style that all pages share: `page.css`.

    Args:
      package: whose folder has it, e.g. "cervix_jax.report".
      name: of its file.
    """
    folders = [jinja2.PackageLoader(each, "") for each in (package, "cervix_jax.figures")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name)


def data_uri(pixels: np.ndarray, kind: str = "PNG", quality: int = 92) -> str:
    """A picture as an address that holds it.

    Args:
      pixels: uint8 [h, w, 3] or, for PNG, [h, w, 4].
      kind: "PNG", or "JPEG", which takes less space and is not exact.
      quality: of JPEG, 1 to 95.
    """
    buffer = io.BytesIO()
    options = {"quality": quality, "subsampling": 0} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(pixels).save(buffer, kind, **options)
    return encoded_uri(buffer.getvalue(), kind)


def encoded_uri(data: bytes, kind: str = "PNG") -> str:
    """As `data_uri`, of a file's bytes."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode('ascii')}"

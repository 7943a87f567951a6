"""Pictures as the app sends them."""

import io

import PIL.Image

from llama_ui.core.messages import Image
from llama_ui.web.attachments import read_attachment


def picture(color: str, kind: str = "PNG") -> Image:
    file = io.BytesIO()
    PIL.Image.new("RGB", (9, 7), color).save(file, kind)
    image = read_attachment(f"x.{kind.lower()}", file.getvalue(), 64, 1)
    assert isinstance(image, Image)
    return image

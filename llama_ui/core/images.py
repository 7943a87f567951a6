"""The limits on images, and the check of an image that comes back from a page, a program or a file."""

import base64
import io
from dataclasses import replace

import PIL.Image

from llama_ui.core.messages import Image

MAX_IMAGES = 4  # in a message
MAX_BYTES = 10 * 2**20
# The header of each image that this app encodes ends within so many bytes; other files may have endless ones.
_HEADER_BYTES = 768


def is_clean_form(image: Image, longest_side: int) -> bool:
    """Whether an image from outside, which may hold any text, has the form that `web.attachments` gives.

    Only its header is read. `longest_side` is the most pixels in a row or a column.
    """
    if len(image.data) > 4 * MAX_BYTES // 3 + 4:
        return False
    try:
        content = base64.b64decode(image.data, validate=True)
        if base64.b64encode(content).decode() != image.data:
            return False  # b64decode allows padding where none belongs
        with PIL.Image.open(io.BytesIO(content[:_HEADER_BYTES]), formats=("PNG", "JPEG")) as opened:
            fits = min(opened.size) >= 1 and max(opened.size) <= longest_side
            return fits and opened.get_format_mimetype() == image.media_type
    except Exception:  # whatever a parser raises on hostile data: OSError, SyntaxError, struct.error, ...
        return False


def with_actual_type(image: Image) -> Image:
    """The image with the media type of its header, where a program has named another, such as "image/jpg"."""
    try:
        header = base64.b64decode(image.data[: 4 * _HEADER_BYTES // 3])
        with PIL.Image.open(io.BytesIO(header), formats=("PNG", "JPEG")) as opened:
            return replace(image, media_type=opened.get_format_mimetype() or image.media_type)
    except Exception:  # as above
        return image

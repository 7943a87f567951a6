"""The pictures in a conversation: their limits, and what a picture from outside has to look like.  Pure."""

import base64
import io
import re

import PIL.Image

from llama_ui.core.messages import Image

MAX_IMAGES = 4
MAX_BYTES = 10 * 2**20
_SIGNATURES = re.compile(
    rb"(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<JPEG>\xff\xd8\xff)|(?P<GIF>GIF8[79]a)|(?P<WebP>RIFF.{4}WEBP)", re.DOTALL
)


def is_clean_form(image: Image, longest_side: int) -> bool:
    """Whether a picture from outside has the form that `attached` gives, as far as its header tells. Never raises."""
    if len(image.data) > 4 * MAX_BYTES // 3 + 4:
        return False
    try:
        content = base64.b64decode(image.data, validate=True)
        kind = image_format(content)
        if len(content) > MAX_BYTES or (kind, image.media_type) not in {("PNG", "image/png"), ("JPEG", "image/jpeg")}:
            return False
        if base64.b64encode(content).decode() != image.data:
            return False  # b64decode allows padding where none belongs
        with PIL.Image.open(io.BytesIO(content), formats=(str(kind),)) as opened:
            return min(opened.size) >= 1 and max(opened.size) <= longest_side
    except Exception:  # as in `_picture`
        return False


def image_format(content: bytes) -> str | None:
    found = _SIGNATURES.match(content)
    return found and found.lastgroup

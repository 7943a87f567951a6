"""Files that are added to a message: text files become text, and of images nothing but the pixels is sent on."""

import base64
import contextlib
import io
import re
import struct
import warnings

import PIL.Image
import PIL.ImageOps

from llama_ui.core.decoding import decode
from llama_ui.core.errors import InputError
from llama_ui.core.images import MAX_BYTES
from llama_ui.core.messages import Image
from llama_ui.core.text import as_code

MAX_PIXELS = 50_000_000
MAX_PNG_BYTES = 2**20  # a larger one is no drawing: as JPEG it is a fraction
# Each takes the time of a whole image. A progressive JPEG has 10, and 10 MB of film behind it about 160.
MAX_SCANS = 300

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_DOCUMENTS = {"pdf", "ps", "eps", "rtf", "svg"}  # their text is not for reading

PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses what has more than twice as many
# It warns about large and odd files on stderr. `catch_warnings` does not work with threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_attachment(name: str, content: bytes, longest_side: int, max_chars: int) -> Image | str:
    """The image in a file, scaled to `longest_side` pixels, or the text of a text file. Raises InputError."""
    label = as_code(name, 60)
    if not content:
        raise InputError(f"{label} is empty.", "Add a file with something in it.")
    if len(content) > MAX_BYTES:
        raise InputError(f"{label} is larger than {MAX_BYTES // 2**20} MB.", "Make it smaller, and add it again.")
    try:
        with PIL.Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            return _image(label, opened, content, longest_side)
    except PIL.UnidentifiedImageError:
        return _text(label, name, content, max_chars)
    except InputError:
        raise
    except PIL.Image.DecompressionBombError as failure:
        sentence = f"{label} has more than {MAX_PIXELS // 10**6} million pixels."
        raise InputError(sentence, "Make it smaller, and add it again.") from failure
    except Exception as failure:  # whatever a parser raises on hostile data: OSError, SyntaxError, struct.error, ...
        fix = "It may be damaged: save it again as PNG or JPEG."
        raise InputError(f"{label} cannot be read as a picture.", fix) from failure


def _text(label: str, name: str, content: bytes, max_chars: int) -> str:
    ending = re.search(r"\.(\w+)[ .]*$", name.lower(), re.ASCII)
    suffix = ending[1] if ending else ""
    text = None if suffix in _DOCUMENTS else decode(content)
    if text is None:
        sentence = f"{label} is neither a PNG, JPEG, WebP or GIF picture nor a text file."
        raise InputError(sentence, "Save it as one of these.")
    if len(text) > max_chars:
        raise InputError(f"{label} has {len(text):,} characters; at most {max_chars:,} are sent.", "Add a part of it.")
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{label}:\n\n{fence}{suffix}\n{text.removesuffix('\n')}\n{fence}"


def _image(label: str, opened: PIL.Image.Image, content: bytes, longest_side: int) -> Image:
    is_jpeg = opened.format in ("JPEG", "MPO")  # MPO: a photo with a smaller copy behind it
    if getattr(opened, "is_animated", False) and not is_jpeg:
        raise InputError(f"{label} is animated.", "Add one still picture of it.")
    if is_jpeg and content.count(b"\xff\xda") > MAX_SCANS:
        raise ValueError("too many scans")
    return _encode(_pixels(opened, longest_side), is_jpeg)


def _pixels(opened: PIL.Image.Image, longest_side: int) -> PIL.Image.Image:
    """The image upright, opaque, as L or RGB, in a new image that has nothing else. Decodes it fully."""
    scale = longest_side / max(opened.size)
    opened.draft(None, (max(1, int(opened.width * scale)), max(1, int(opened.height * scale))))  # JPEG: saves memory
    opened.load()
    with contextlib.suppress(TypeError, ValueError, AttributeError, struct.error):  # raised for odd or damaged EXIF
        PIL.ImageOps.exif_transpose(opened, in_place=True)
    image = opened
    if image.mode == "I;16":  # convert() would clip: take each number's high byte
        image = PIL.Image.frombytes("L", image.size, image.tobytes()[1::2])
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    image.thumbnail((longest_side, longest_side), PIL.Image.Resampling.LANCZOS)
    clean = PIL.Image.new("L" if mode == "L" else "RGB", image.size, "white")
    clean.paste(image, mask=image if mode == "RGBA" else None)
    return clean


def _encode(image: PIL.Image.Image, as_jpeg: bool) -> Image:
    file = io.BytesIO()
    image.save(file, "JPEG" if as_jpeg else "PNG", quality=90)
    if not as_jpeg and file.tell() > MAX_PNG_BYTES:
        return _encode(image, as_jpeg=True)
    return Image("image/jpeg" if as_jpeg else "image/png", base64.b64encode(file.getvalue()).decode())

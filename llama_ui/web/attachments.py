"""Files that a person adds to a message: pictures made ready for a model, text files put into words.

Pure, apart from the CPU it takes: call it in a thread. Nothing of a picture but its pixels is passed on.
"""

import base64
import contextlib
import io
import mimetypes
import re
import struct
import unicodedata
import warnings
import zipfile
import zlib
from urllib.parse import unquote

import PIL.Image
import PIL.ImageOps

from llama_ui.core.errors import InputError
from llama_ui.core.images import MAX_BYTES, image_format
from llama_ui.core.messages import Image
from llama_ui.core.text import as_code

MAX_PIXELS = 50_000_000
_MOST_PNG_BYTES = 2**20  # what takes more is no drawing: as JPEG it is a fraction
_MOST_SCANS = 300  # a progressive JPEG has 10, and 10 MB of a film behind it look like 160 by chance

_KINDS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WebP", "gif": "GIF"}
# What no picture holds, and a page or a program does. A bare "<svg" is in one of 130 photos of 4 MB by mere chance.
_FOREIGN = re.compile(rb"%PDF-|(?i:<script|<\?php|<html|<svg[\s/>][\s -~]{3})")
_TYPES = mimetypes.MimeTypes(filenames=())  # the built-in table only, so that no machine differs
_TEXT_TYPE = re.compile(
    r"text/.*|application/(.*\+)?(json|xml|javascript|ecmascript|toml|yaml|sql|n-triples|n-quads|trig|x-ndjson"
    r"|x-(sh|csh|tcl|python|tex|latex|texinfo|troff(-\w+)?))"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")

# Pillow warns of large and of odd files, on stderr. Here each is refused or sound; `catch_warnings` is not for threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def attached(name: str, content: bytes, longest_side: int, most_chars: int) -> Image | str:
    """The picture in a file, or for a text file what to put into the message. `longest_side` is in pixels.

    Raises InputError for any other file.
    """
    shown = as_code(name, 60)
    if not _is_plain(name):
        raise InputError(f"{shown} is no plain file name.", "Rename the file, and add it again.")
    if not content:
        raise InputError(f"{shown} is empty.", "Add a file with something in it.")
    if len(content) > MAX_BYTES:
        raise InputError(f"{shown} is larger than {MAX_BYTES // 2**20} MB.", "Make it smaller, and add it again.")
    _, dot, suffix = name.rstrip(" .").lower().rpartition(".")
    suffix = suffix if dot else ""
    kind, claimed = image_format(content), _KINDS.get(suffix)
    if kind and kind != claimed:
        raise InputError(f"{shown} is a {kind} picture with another name.", f"Rename it to .{kind.lower()}.")
    if claimed:
        return _picture(shown, claimed, content, longest_side)
    text = _decoded(content) if _may_be_text(suffix) else None
    if text is None:
        raise InputError(
            f"{shown} is neither a PNG, JPEG, WebP or GIF picture nor a text file.", "Save it as one of these."
        )
    if len(text) > most_chars:
        raise InputError(f"{shown} has {len(text):,} characters, and {most_chars:,} are the most.", "Add a part of it.")
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    info = suffix if suffix.isascii() and suffix.isalnum() else ""
    return f"{shown}:\n\n{fence}{info}\n{text.removesuffix('\n')}\n{fence}"


def _is_plain(name: str) -> bool:
    if len(name) > 255 or not name.strip(" .") or name.startswith(".."):
        return False
    decoded = unquote(name)
    if decoded != name and not _is_plain(decoded):
        return False
    # Names of screenshots on a Mac have a narrow space (Zs), Persian ones and emoji have joiners.
    return not any(
        char in "/\\<>" or not (char.isprintable() or char in "\u200c\u200d" or unicodedata.category(char) == "Zs")
        for char in name
    )


def _may_be_text(suffix: str) -> bool:
    media_type, packed = _TYPES.guess_type(f"x.{suffix}", strict=False)
    return not packed and (media_type is None or _TEXT_TYPE.fullmatch(media_type) is not None)


def _decoded(content: bytes) -> str | None:
    """The text with "\\n" for all line ends. None for what is no text."""
    try:
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text.replace("\r\n", "\n").replace("\r", "\n")


def _picture(shown: str, kind: str, content: bytes, longest_side: int) -> Image:
    try:
        with PIL.Image.open(io.BytesIO(content), formats=(kind,)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise PIL.Image.DecompressionBombError
            if opened.format != "MPO" and getattr(opened, "is_animated", False):  # MPO: a photo with a smaller copy
                raise InputError(f"{shown} is animated.", "Add one still picture of it.")
            if _is_something_else_too(kind, content):
                raise InputError(f"{shown} holds more than a picture.", "Save the picture alone, as PNG or JPEG.")
            return _encoded(_pixels(opened, longest_side), kind)
    except InputError:
        raise
    except PIL.Image.DecompressionBombError as failure:
        raise InputError(
            f"{shown} has more than {MAX_PIXELS // 10**6} million pixels.", "Make it smaller, and add it again."
        ) from failure
    except Exception as failure:  # whatever a parser raises on hostile data: OSError, SyntaxError, struct.error, ...
        raise InputError(
            f"{shown} cannot be read as a {kind} picture.", "It may be damaged: save it anew as PNG or JPEG."
        ) from failure


def _is_something_else_too(kind: str, content: bytes) -> bool:
    """Whether there is more to a file than its picture. Raises any error for one that is cut off or damaged."""
    match kind:
        case "PNG":
            rest = content[_png_end(content) :]
        case "GIF":
            rest = content[_gif_end(content) :].strip(b"\0")
        case "WebP":
            rest = content[8 + int.from_bytes(content[4:8], "little") + 1 :]  # 1: the byte that makes a length even
        case _:
            rest = b""  # phones put films and depth maps after a JPEG
            if content.count(b"\xff\xda") > _MOST_SCANS:
                raise ValueError("each scan takes the time of a picture")
    return bool(rest or _FOREIGN.search(content) or zipfile.is_zipfile(io.BytesIO(content)))


def _png_end(content: bytes) -> int:
    kind, at = b"", 8
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, at)
        (checksum,) = struct.unpack_from(">I", content, at + 8 + length)
        if zlib.crc32(content[at + 4 : at + 8 + length]) != checksum:  # Pillow does not check those of the pixels
            raise ValueError("wrong checksum")
        at += 12 + length
    return at


def _gif_end(content: bytes) -> int:
    def table(flags: int) -> int:
        return 6 << (flags & 7) if flags & 128 else 0

    at = 13 + table(content[10])
    while (block := content[at : at + 1]) != b";":
        if block not in (b",", b"!"):
            raise ValueError("neither a picture nor an extension")
        at += 11 + table(content[at + 9]) if block == b"," else 2
        while content[at]:
            at += content[at] + 1
        at += 1
    return at + 1


def _pixels(opened: PIL.Image.Image, longest_side: int) -> PIL.Image.Image:
    """The picture upright, opaque, as L or RGB, in a new image that has nothing else. Decodes it fully."""
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


def _encoded(image: PIL.Image.Image, kind: str) -> Image:
    file = io.BytesIO()
    if kind != "JPEG":
        image.save(file, "PNG")
        if file.tell() <= _MOST_PNG_BYTES:
            return Image("image/png", base64.b64encode(file.getvalue()).decode())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return Image("image/jpeg", base64.b64encode(file.getvalue()).decode())

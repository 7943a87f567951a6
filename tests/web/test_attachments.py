"""Files that are added to a message: what becomes of each, and which are refused."""

import base64
import binascii
import io
import random
import re
import struct
import subprocess
import sys
import zlib
from typing import Any

import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
import PIL.PngImagePlugin
import pytest

from llama_ui.core.errors import InputError
from llama_ui.core.images import MAX_BYTES, is_clean_form
from llama_ui.core.messages import Image
from llama_ui.web.attachments import read_attachment

SIDE = 1568
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
CORNERS = (RED, GREEN, BLUE, YELLOW)  # top left, top right, bottom left, bottom right


def recreated(name: str, content: bytes, longest_side: int = SIDE) -> bytes:
    """The file that a model receives for a file."""
    image = read_attachment(name, content, longest_side, 1000)
    assert isinstance(image, Image)
    assert is_clean_form(image, longest_side)  # has the format that it names, too
    return base64.b64decode(image.data, validate=True)


def picture(name: str, content: bytes, longest_side: int = SIDE) -> PIL.Image.Image:
    """The image that a model receives for a file, opened."""
    opened = PIL.Image.open(io.BytesIO(recreated(name, content, longest_side)))
    assert not opened.getexif()
    assert not opened.info.keys() - {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    return opened


def text(name: str, content: bytes, max_chars: int = 1000) -> str:
    result = read_attachment(name, content, SIDE, max_chars)
    assert isinstance(result, str)
    return result


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def saved(image: PIL.Image.Image, kind: str, **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def corners(width: int, height: int) -> PIL.Image.Image:
    """An image of four quarters in different colours."""
    image = PIL.Image.new("RGB", (width, height))
    for place, colour in enumerate(CORNERS):
        left, top = place % 2 * (width // 2), place // 2 * (height // 2)
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def is_upright(image: PIL.Image.Image) -> bool:
    right, bottom = image.width - 3, image.height - 3
    seen = [image.convert("RGB").getpixel(at) for at in ((2, 2), (right, 2), (2, bottom), (right, bottom))]
    return all(near(one, other) for one, other in zip(seen, CORNERS, strict=True))


def near(one: Any, other: tuple[int, ...], by: int = 12) -> bool:
    return all(abs(a - b) <= by for a, b in zip(one, other, strict=True))


def oriented(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def noise(width: int, height: int, mode: str = "RGB") -> PIL.Image.Image:
    size = width * height * len(mode)
    return PIL.Image.frombytes(mode, (width, height), random.Random(1).randbytes(size))


def test_a_phone_picture_arrives_upright_small_and_without_metadata() -> None:
    exif = oriented(6)
    exif[0x010F] = "Secret Maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0), 29: "2031:07:29"})
    thumbnail = saved(corners(160, 120), "JPEG")
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><Secret tiff:Orientation="6"/></x:xmpmeta>'
    photo = corners(3024, 4032).transpose(PIL.Image.Transpose.ROTATE_90)
    icc = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    file = saved(photo, "JPEG", exif=exif.tobytes() + thumbnail, icc_profile=icc, xmp=xmp, comment=b"Secret words")
    result = picture("IMG_0001.JPG", file)
    assert (result.format, result.size) == ("JPEG", (1176, 1568))
    assert is_upright(result)
    content = recreated("IMG_0001.JPG", file)
    for trace in (b"Exif", b"Secret", b"2031", b"ICC_PROFILE", b"adobe", thumbnail[:200]):
        assert trace not in content


@pytest.mark.parametrize("seed", [520, 1592, 5503])
def test_a_sound_photo_with_damaged_exif_is_still_a_photo(seed: int) -> None:
    exif = oriented(6)
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    exif.get_ifd(0x8769).update({0x829A: (1, 10)})
    damaged, numbers = bytearray(exif.tobytes()), random.Random(seed)
    for _ in range(numbers.randint(1, 3)):
        damaged[numbers.randrange(6, len(damaged))] = numbers.randrange(256)
    file = saved(PIL.Image.new("RGB", (40, 20), "red"), "JPEG", exif=bytes(damaged))
    with pytest.raises((TypeError, AttributeError, struct.error)):
        PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(file)))
    assert near(picture("a.jpg", file).convert("RGB").getpixel((5, 5)), (255, 0, 0))


FILM = b"\0\0\0\x18ftypmp42" + random.Random(2).randbytes(5_000_000)
LYING = corners(40, 20).transpose(PIL.Image.Transpose.ROTATE_90)
GOOD = {
    "png": ("My picture (1).PNG", saved(corners(40, 20), "PNG")),
    "jpeg": ("a.jpeg", saved(corners(40, 20), "JPEG")),
    "cmyk jpeg": ("a.jpg", saved(corners(40, 20).convert("CMYK"), "JPEG", quality=95)),
    "jpeg with a film behind it": ("a.jpg", saved(corners(40, 20), "JPEG") + FILM),
    "jpeg of several frames": (
        "a.jpg", saved(corners(40, 20), "MPO", save_all=True, append_images=[PIL.Image.new("RGB", (20, 10))]),
    ),
    "jpeg of Windows": ("a.jfif", saved(corners(40, 20), "JPEG")),
    "jpeg without an ending": ("jpeg", saved(corners(40, 20), "JPEG")),
    "jpeg named as a png": ("photo (jpeg).png", saved(corners(40, 20), "JPEG")),
    "png on its side": ("a.png", saved(LYING, "PNG", exif=oriented(6))),
    "webp": ("a.webp", saved(corners(40, 20), "WEBP", quality=95)),
    "palette gif": ("a.gif", saved(corners(40, 20).convert("P"), "GIF", comment=b"secret") + b"\0\0"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), GOOD.values(), ids=GOOD)
def test_every_kind_of_image_is_recreated(name: str, content: bytes) -> None:
    result = picture(name, content)
    assert (result.format, result.mode, result.size) == ("JPEG" if "j" in name.lower() else "PNG", "RGB", (40, 20))
    assert is_upright(result)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_longest_side_is_limited_and_the_shortest_stays(kind: str) -> None:
    sizes = {(100, 100): (100, 100), (101, 100): (100, 99), (4000, 2): (100, 1), (2, 4000): (1, 100), (1, 1): (1, 1)}
    for size, smaller in sizes.items():
        assert picture(f"a.{kind}", saved(PIL.Image.new("RGB", size, "red"), kind), 100).size == smaller


def test_transparent_pixels_become_white() -> None:
    half = PIL.Image.new("RGBA", (40, 20), (255, 0, 0, 255))
    half.paste((0, 0, 0, 0), (0, 0, 20, 20))
    half.paste((0, 0, 0, 128), (30, 0, 40, 20))
    palette = half.convert("P")
    palette.info["transparency"] = palette.getpixel((2, 2))
    for name, file in (
        ("a.png", saved(half, "PNG")),
        ("a.png", saved(palette, "PNG", transparency=palette.getpixel((2, 2)))),
        ("a.png", saved(PIL.Image.new("RGB", (40, 20), RED), "PNG", transparency=RED)),
    ):
        result = picture(name, file)
        assert "A" not in result.mode
        assert result.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    assert near(picture("a.png", saved(half, "PNG")).getpixel((35, 5)), (127, 127, 127), 2)


def test_grey_stays_grey_and_16_bit_grey_is_scaled() -> None:
    for mode, black_grey_white in (("L", (0, 128, 255)), ("I;16", (0, 0x8000, 0xFFFF))):
        grey = PIL.Image.new(mode, (3, 1))
        for x, value in enumerate(black_grey_white):
            grey.putpixel((x, 0), value)
        result = picture("a.png", saved(grey, "PNG"))
        assert (result.mode, [result.getpixel((x, 0)) for x in range(3)]) == ("L", [0, 128, 255])
    assert picture("a.png", saved(PIL.Image.new("1", (8, 8), 1), "PNG")).getpixel((1, 1)) == 255


def test_a_png_that_would_be_large_becomes_a_jpeg() -> None:
    assert picture("a.png", saved(noise(800, 600), "PNG")).format == "JPEG"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, pixels: bytes = b"\0\0") -> bytes:
    """A PNG with one bit per pixel."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    body = header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def scans(count: int) -> bytes:
    """A JPEG that repeats one of its scans: small, and slow to decode."""
    file = saved(corners(64, 64), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    return file[:-2] + file[last:-2] * count + file[-2:]


SMALL = {kind: saved(noise(60, 40), kind) for kind in ("png", "jpeg", "gif", "webp")}
PNG, JPEG, _, WEBP = SMALL.values()
MOVING: dict[str, Any] = {"save_all": True, "append_images": [PIL.Image.new("RGB", (60, 40))], "duration": 100}
ZIP = b"PK\x03\x04\0run.exe"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><html><body onload=alert(1)></body></html>"
UNREADABLE, PIXELS, ANIMATED = "cannot be read as a picture", "more than 50 million pixels", "animated"
NEITHER = "is neither a PNG, JPEG, WebP or GIF picture nor a text file"
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "bomb in the header": ("a.png", png(2**31 - 1, 2**31 - 1), PIXELS),
    "60 million real pixels": ("a.png", png(7750, 7750, pixels=bytes(7750 * 970)), PIXELS),
    "webp of a huge canvas": ("a.webp", WEBP[:12] + b"VP8X\n" + bytes(7) + b"\xff\x3f\0" * 2 + WEBP[12:], UNREADABLE),
    "gif of a huge frame": ("a.gif", b"GIF89a\1\0\1\0\0\0\0," + b"\0\0\0\0" + b"\xff" * 4 + b"\0\2\0;", PIXELS),
    "png text bomb": ("a.png", png(1, 1, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))), UNREADABLE),
    "jpeg of many scans": ("a.jpg", scans(400), UNREADABLE),
    "svg with a script": ("a.svg", SVG, NEITHER),
    "tiff as png": ("a.png", saved(noise(4, 4), "TIFF"), NEITHER),
    "pdf": ("a.pdf", b"%PDF-1.7 text only", NEITHER),
    "moving gif": ("a.gif", saved(noise(60, 40), "GIF", **MOVING), ANIMATED),
    "png of few pixels": ("a.png", png(1000, 1000), UNREADABLE),
    "no byte": ("a.png", b"", "is empty"),
    "11 MB": ("a.png", PNG + bytes(11 * 2**20), "larger than 10 MB"),
    **{f"{kind} cut short": (f"a.{kind}", SMALL[kind][:900], UNREADABLE) for kind in SMALL},
}


@pytest.mark.parametrize(("name", "content", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_with_one_sentence(name: str, content: bytes, problem: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_attachment(name, content, SIDE, 1000)
    sentence = str(refusal.value)
    assert problem in sentence
    assert refusal.value.sentence.endswith(".") and sentence.endswith(".")
    assert sentence.isprintable() and len(sentence) < 300
    assert not re.search("Traceback|Error|PIL|0x|BytesIO|site-packages", sentence)


POLYGLOTS = {
    "zip behind a png": ("a.png", PNG + ZIP),
    "html in a png": ("a.png", png(1, 1, chunk(b"tEXt", b"a\0" + HTML))),
    "pdf in a jpeg": ("a.jpg", saved(noise(4, 4), "JPEG", comment=b"%PDF-1.7")),
}


@pytest.mark.parametrize(("name", "content"), POLYGLOTS.values(), ids=POLYGLOTS)
def test_an_image_that_hides_another_file_is_recreated_from_its_pixels(name: str, content: bytes) -> None:
    with PIL.Image.open(io.BytesIO(content)) as before:
        assert picture(name, content).size == before.size
    for foreign in (b"run.exe", b"PK\x03\x04", b"alert(1)", b"<html", b"%PDF-"):
        assert foreign not in recreated(name, content)


@pytest.mark.parametrize(
    "name", ["größe 图片 👩\u200d💻.png", "a" * 252 + ".png", "../a\0\ud800.png", "<img src=x onerror=alert(1)>`.png"]
)
def test_any_name_is_accepted_and_shown_as_one_line_of_code(name: str) -> None:
    assert picture(name, saved(corners(4, 4), "PNG")).size == (4, 4)
    with pytest.raises(InputError) as refusal:
        read_attachment(name, b"", SIDE, 1000)
    label = refusal.value.sentence.removesuffix(" is empty.")
    assert label.isprintable() and len(label) < 70
    assert label[0] == label[-1] == "`" and "`" not in label[1:-1]


def test_pillow_prints_no_warning() -> None:
    program = f"import llama_ui.web.attachments as a; a.read_attachment('a.png', {png(6000, 6000)!r}, 9, 9)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "cannot be read as a picture" in done.stderr and "Warning" not in done.stderr


TEXT = "Grüße,\n\n 世界"


def test_every_encoding_and_line_end_gives_the_same_text() -> None:
    contents = [TEXT.encode(encoding) for encoding in ("utf-8", "utf-8-sig", "utf-16")]
    contents += [TEXT.replace("\n", end).encode() for end in ("\r\n", "\r")]
    for content in (*contents, b"\xfe\xff" + TEXT.encode("utf-16-be")):
        assert text("a.txt", content) == f"`a.txt`:\n\n```txt\n{TEXT}\n```"


def test_a_text_in_windows_1252_or_utf_16_without_a_mark_is_read() -> None:
    for words in ("Où est-ce ? – 5 €", "Hyvää päivää", "x = 1\n" * 40 + "# für"):
        for encoding in ("windows-1252", "utf-16-le", "utf-16-be"):
            assert text("a.txt", words.encode(encoding)) == f"`a.txt`:\n\n```txt\n{words}\n```"


def test_backticks_in_a_file_do_not_end_its_block() -> None:
    assert text("a.md", b"````py\n1\n````\n") == "`a.md`:\n\n`````md\n````py\n1\n````\n`````"


def test_a_text_file_may_have_any_suffix_that_no_binary_format_has() -> None:
    for name, info in {"Makefile": "", ".gitignore": "gitignore", "A.YAML": "yaml", "a.c++": "", "a.größe": ""}.items():
        assert text(name, b"x") == f"`{name}`:\n\n```{info}\nx\n```"


def test_a_text_file_may_have_as_many_characters_as_a_message() -> None:
    assert "a" * 1234 in text("a.txt", b"a" * 1234, 1234)
    with pytest.raises(InputError) as refusal:
        read_attachment("a.txt", b"a" * 1235, SIDE, 1234)
    assert refusal.value.sentence == "`a.txt` has 1,235 characters; at most 1,234 are sent."


@pytest.mark.parametrize(
    "content",
    [b"a\0b", b"\x1b[31m", b"\xff\xfea", b"\xff\xfe\0\xd8", b"\x7fELF", b"a\xc2\x80", b"\xe9\0\0", b"\xe9\1"],
)
def test_a_binary_file_is_not_a_text(content: bytes) -> None:
    with pytest.raises(InputError, match="nor a text file"):
        read_attachment("a.txt", content, SIDE, 1000)


@pytest.mark.parametrize(
    ("kind", "data", "is_clean"),
    [
        ("png", encode(PNG), True),
        ("jpeg", encode(JPEG), True),
        ("jpeg", encode(PNG), False),
        ("svg+xml", encode(SVG), False),
        ("png", encode(png(61, 1)), False),
        ("png", encode(PNG + bytes(MAX_BYTES)), False),
        ("png", encode(PNG) + "=", False),
        ("png", " " + encode(PNG), False),
    ],
)
def test_an_image_from_outside_is_judged_by_its_header(kind: str, data: str, is_clean: bool) -> None:
    assert is_clean_form(Image(f"image/{kind}", data), 60) is is_clean

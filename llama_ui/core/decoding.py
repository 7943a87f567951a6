"""The text of a file, in whatever encoding a program has saved it."""

import codecs
import re

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
# What programs save text in where it is neither Unicode nor Windows-1252: the encodings of other versions of Windows.
_OTHERS = ["cp1251", "cp1250", "cp1253", "cp1255", "cp1256", "cp1257", "cp874", "cp932", "cp949", "gb18030", "big5"]


def decode(content: bytes) -> str | None:
    """The text, with line feeds for all line ends; None for a binary file."""
    encoding = _unicode_encoding(content)
    try:
        text: str | None = content.decode(encoding)
    except UnicodeDecodeError:
        text = _guess(content) if encoding == "utf-8-sig" else None
    return None if text is None or _CONTROL.search(text) else text.replace("\r\n", "\n").replace("\r", "\n")


def _unicode_encoding(content: bytes) -> str:
    """The encoding of a text in Unicode, by its byte order mark or its NULs, which only UTF-16 has in a text."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if 0 not in content:
        return "utf-8-sig"
    return "utf-16-be" if content[::2].count(0) > content[1::2].count(0) else "utf-16-le"  # the first byte of most is 0


def _guess(content: bytes) -> str | None:
    """The text of a file that is not valid Unicode."""
    text = content.decode("utf-8-sig", "replace")
    broken = text.count("\ufffd")
    if len(text) - len(text.encode("ascii", "ignore")) > 2 * broken:
        return text  # most of it is UTF-8: it may have been cut within a character
    from charset_normalizer import from_bytes  # takes 0.1 s, which most programs never need

    # Nearly any text in a Western language passes for Windows-1252, and hardly one in another script.
    found = from_bytes(content, cp_isolation=["cp1252"], threshold=1).best()
    found = found or from_bytes(content, cp_isolation=_OTHERS).best()
    return str(found) if found else None

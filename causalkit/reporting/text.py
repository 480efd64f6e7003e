"""Text that comes from files, made safe for a page."""

from __future__ import annotations

import json
import unicodedata
from html import escape

LONGEST = 60  # letters of a name; a page names a neuron many times


def clean(name, longest=LONGEST):
    """A name as one short line: control characters and halves of surrogate pairs become a replacement mark."""
    text = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in str(name)
    )
    return text if len(text) <= longest else text[: longest - 1] + "…"


def named(name):
    """A name inside a sentence of the page; a name in a right-to-left script must not turn the sentence round."""
    return f"<bdi>{escape(clean(name))}</bdi>"


def embedded(data):
    """JSON inside a script element: no letter in it can end the element or a line."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # escapes all but ASCII
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")

"""Text from others, made safe for a terminal, a log and a sentence.

Text from a party, a host, a program or a file may have control sequences, line breaks where one
line is expected, characters that reverse the order of others, halves of surrogate pairs, or a
gigabyte of anything. Such text enters a message only by `printable`. It is never used as a template
or as markup.
"""

LINE_LENGTH = 300
"""The most characters of such text in a sentence, unless the caller says otherwise."""


def printable(text: object, most: int = LINE_LENGTH) -> str:
    r"""Return ``text`` as one line of at most ``most`` characters; ``...`` marks a cut.

    What cannot be printed is escaped as in Python (``\n``, ``\x1b``, ``\udc80``): so it cannot
    control a terminal, and can always be encoded.
    """
    whole = text if isinstance(text, str) else str(text)
    shown = whole[:most]
    if not shown.isprintable():
        shown = "".join(map(_escaped, shown))
    return shown if len(whole) <= most and len(shown) <= most else f"{shown[:most]}..."


def printable_lines(text: str, most: int | None = None) -> str:
    """Return ``text`` with its line breaks and tabs; all else is escaped as by `printable`.

    The result has at most ``most`` characters of it; ``...`` marks a cut.
    """
    more = most is not None and len(text) > most
    shown = text[:most]
    if not shown.isprintable():
        shown = "".join(each if each in "\n\t" else _escaped(each) for each in shown)
    return f"{shown}..." if more else shown


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")

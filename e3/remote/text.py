"""Text that somebody else wrote, made fit for a person's terminal, a log and a sentence.

What a party, a host, a program or a file says may hold control sequences, line breaks where one
line is expected, characters that reverse the order of others, halves of surrogate pairs, or a
gigabyte of anything. `printable` is the one way by which such text enters a message. It is never
used as a template, nor as markup.
"""

LINE_LENGTH = 300
"""Characters of foreign text in a sentence, unless its caller says otherwise."""


def printable(text: object, most: int = LINE_LENGTH) -> str:
    r"""Return ``text`` as one line of at most ``most`` characters; ``...`` says that there is more.

    What cannot be printed is escaped as Python does (``\n``, ``\x1b``, ``\udc80``), so that it can
    neither act on a terminal nor fail to be encoded.
    """
    whole = text if isinstance(text, str) else str(text)
    shown = whole[:most]
    if not shown.isprintable():
        shown = "".join(map(_escaped, shown))
    return shown if len(whole) <= most and len(shown) <= most else f"{shown[:most]}..."


def printable_lines(text: str, most: int | None = None) -> str:
    """Return ``text`` with its line breaks and tabs, and all else escaped as by `printable`.

    At most ``most`` characters of it, and ``...`` where there are more.
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

"""Keep the beginning and the end of a text that may be long."""


class Excerpt:
    """Keeps ``most`` characters of what is added: half from the beginning, half from the end."""

    def __init__(self, most: int) -> None:
        """Begin empty."""
        self._half = most // 2
        self._begin = ""
        self._end = ""
        self._left_out = 0

    def add(self, text: str) -> None:
        """Add a piece at the end."""
        room = self._half - len(self._begin)
        self._begin += text[:room]
        rest = self._end + text[room:]
        # with a negative zero all of it would stay
        self._end = rest[max(len(rest) - self._half, 0) :]
        self._left_out += len(rest) - len(self._end)

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return (self._end or self._begin).rstrip().rpartition("\n")[2]

    def text(self, note: str) -> str:
        """Return what was kept; where characters are left out it says so, with ``note``."""
        left_out = self._left_out
        gap = f"\n[{left_out} characters left out, see the log; {note}]\n" if left_out else ""
        return f"{self._begin}{gap}{self._end}"

"""Text from outside, made safe to print and to store."""

_JOINERS = "\u200c\u200d"  # part of words in Persian, of emoji; they hide nothing


def printable(text: str) -> str:
    r"""Return text in one line that UTF-8 can hold, every other character as an escape.

    Newlines, control and direction marks become escapes like \n, bytes of a file name that are not UTF-8
    escapes like \udce9.
    """
    if text.isprintable():
        return text  # as nearly all are, and there are as many as images
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode("ascii")
        for char in text
    )

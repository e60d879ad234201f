"""Text from outside, made fit for a log, a terminal, a message or a file name."""

from __future__ import annotations

import logging
import re
import unicodedata

LONGEST = 2000
_HIDDEN = ('Cc', 'Cf', 'Cs', 'Co', 'Cn', 'Zl', 'Zp')
"""Unicode categories of what is not drawn but acts: controls, directions, line ends, halves."""
_NAME = re.compile(r'\w[\w .-]{0,63}')


def is_printable(text: str) -> bool:
    """Return whether every character of a text is one that is drawn, or a space."""
    return not any(unicodedata.category(character) in _HIDDEN for character in text)


def printable(text: str, longest: int = LONGEST) -> str:
    r"""Return a text with what is not drawn written as Python does, and its end cut off.

    >>> printable('front\n2026 NOMINAL\x00')
    'front\\n2026 NOMINAL\\x00'
    """
    if len(text) > longest:
        text = text[: longest - 3] + '...'
    if is_printable(text):
        return text
    return ''.join(
        character if is_printable(character) else character.encode('unicode_escape').decode()
        for character in text
    )


def read_name(text: str) -> str:
    """Return a name that may be a part of a file name; raises ValueError for another."""
    if not _NAME.fullmatch(text) or not is_printable(text):
        raise ValueError(
            'must be a name of up to 64 letters, digits, spaces, "_", "-" and ".", and not begin '
            'with a mark'
        )
    return text


class PrintableFormatter(logging.Formatter):
    """Writes each message of a log in one line, whatever it quotes; tracebacks stay."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line of a record."""
        record.message = printable(record.message)
        return super().formatMessage(record)

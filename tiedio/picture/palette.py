"""Colors of ties: told apart by people who see fewer colors too; a tie's number tells it where colors repeat."""

from __future__ import annotations

# M. Okabe and K. Ito, Color Universal Design (2008), without yellow and black, each with the ink that is read on it.
_COLORS = (
    ("#0072b2", "#ffffff"),
    ("#d55e00", "#000000"),
    ("#009e73", "#000000"),
    ("#cc79a7", "#000000"),
    ("#e69f00", "#000000"),
    ("#56b4e9", "#000000"),
)
_STYLES = ("dashed", "dotted", "solid")


def color_of(number: int) -> str:
    """The color of a tie, as `#rrggbb`.

    Args:
        number: the tie's number, from 1.

    Example:
        >>> color_of(1), color_of(7)
        ('#0072b2', '#0072b2')
    """
    return _COLORS[(number - 1) % len(_COLORS)][0]


def ink_on(number: int) -> str:
    """The color of text on the color of a tie."""
    return _COLORS[(number - 1) % len(_COLORS)][1]


def style_of(number: int) -> str:
    """How the line of a tie is drawn: another one each time that the colors begin anew.

    Example:
        >>> style_of(1), style_of(7)
        ('dashed', 'dotted')
    """
    return _STYLES[(number - 1) // len(_COLORS) % len(_STYLES)]

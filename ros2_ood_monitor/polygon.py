"""A polygon as the text of a parameter: ROS parameters hold no lists of points."""

from __future__ import annotations

Point = tuple[float, float]


def read_polygon(text: str) -> tuple[Point, ...]:
    """Return the corners (x, y) that `text` names, in shares of the image; empty names none.

    Raises ValueError if they are not three or more from 0 to 1 around an area.

    >>> read_polygon('0,1 0.5,0.4 1,1')
    ((0.0, 1.0), (0.5, 0.4), (1.0, 1.0))
    """
    words = text.split()
    try:
        corners = tuple((float(x), float(y)) for x, y in (word.split(',') for word in words))
    except ValueError:
        raise ValueError("must read 'x,y x,y x,y', in shares of the image") from None
    if not all(0 <= share <= 1 for corner in corners for share in corner):
        raise ValueError('must have corners from 0 to 1, in shares of the image')
    following = (*corners[1:], *corners[:1])
    doubled = sum(x * v - u * y for (x, y), (u, v) in zip(corners, following, strict=True))
    if words and (len(corners) < 3 or doubled == 0):
        raise ValueError('must have three or more corners around an area')
    return corners

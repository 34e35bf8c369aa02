"""Which jobs are worth keeping when several things are wanted at once."""

from collections.abc import Sequence

Point = tuple[float, ...]


def find_pareto_front(points: Sequence[Point]) -> list[int]:
    """Indices, in order, of the points that no other beats: none is as good in all coordinates and better in one.

    Args:
        points: all of one length; more is better in every coordinate.

    Equal points stand together on the front.
    """

    def is_dominated(one: Point, other: Point) -> bool:
        return other != one and all(theirs >= mine for mine, theirs in zip(one, other, strict=True))

    return [i for i, one in enumerate(points) if not any(is_dominated(one, other) for other in points)]


def choose_best(points: Sequence[Point]) -> int:
    """The index of the point on the front with the best mean rank in all coordinates; of equals, the first coordinate
    decides, then the order.

    Ranks and not values, because the coordinates have different scales, and nobody can say what one is worth in
    another.

    Raises:
        ValueError: there are no points.
    """
    if not points:
        raise ValueError("no points")

    def rank(axis: int, value: float) -> int:
        return sum(point[axis] > value for point in points)

    def ranks(i: int) -> int:
        return sum(rank(axis, value) for axis, value in enumerate(points[i]))

    return min(find_pareto_front(points), key=lambda i: (ranks(i), -points[i][0], i))

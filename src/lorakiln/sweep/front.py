"""Which jobs are worth keeping when two things are wanted at once."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices, in order, of the points that no other beats in both coordinates (both: more is better).

    Equal points stand together on the front.
    """

    def beaten(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return other[0] >= one[0] and other[1] >= one[1] and other != one

    return [i for i, one in enumerate(points) if not any(beaten(one, other) for other in points)]


def best_of(points: Sequence[tuple[float, float]]) -> int:
    """The index of the point on the front with the best mean rank in both coordinates; of equals, the first coordinate
    decides, then the order.

    Ranks and not values, because the two have different scales, and nobody can say what one is worth in the other.

    Raises:
        ValueError: there are no points.
    """
    if not points:
        raise ValueError("no points")

    def rank(axis: int, value: float) -> int:
        return sum(point[axis] > value for point in points)

    return min(pareto_front(points), key=lambda i: (rank(0, points[i][0]) + rank(1, points[i][1]), -points[i][0], i))

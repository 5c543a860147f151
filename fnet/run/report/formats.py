"""Values as a page shows them."""

from collections.abc import Mapping

from fnet.show.tables import MISSING, percent


def show(value: object) -> str:
    """Return a JSON value for people.

    >>> show([1, None, True])
    '1, -, yes'
    """
    if value is None or value == []:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {show(inner)}" for name, inner in value.items())
    return ", ".join(map(show, value)) if isinstance(value, list) else str(value)


def duration(seconds: float) -> str:
    """Return a time for people.

    >>> [duration(seconds) for seconds in (4.26, 45.4, 126, 707, 3660)]
    ['4.3 s', '45 s', '2 min 06 s', '11.8 min', '1 h 01 min']
    """
    if not 0 <= seconds < 1e12:  # a damaged file may contain any number
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02} s"
    if round(seconds / 60, 1) < 60:
        return f"{seconds / 60:.1f} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def count(n: float) -> str:
    """Return a large number in three or four digits.

    >>> [count(n) for n in (999, 61_706, 1_149_770, 1.5e8, 2e9)]
    ['999', '61.7 K', '1.15 M', '150 M', '2 G']
    """
    for unit in ("", " K", " M", " G"):
        if n < 999.5 or unit == " G":
            break
        n /= 1000
    return f"{n:.3g}{unit}" if n < 999.5 else f"{n:,.0f}{unit}"


def size(n: int) -> str:
    """Return a number of bytes for people.

    >>> size(812), size(4_600_000)
    ('812 bytes', '4.6 MB')
    """
    return f"{n} bytes" if n < 1000 else f"{count(n).upper()}B"


def figure(name: str, line: Mapping[str, float]) -> str:
    """Return a figure of a line of `metrics.jsonl`, `MISSING` where it has none of that name."""
    if name not in line:
        return MISSING
    value = line[name]
    if name.endswith("accuracy"):
        return percent(value)
    formats = {"learning_rate": ".3g", "seconds": ",.1f", "images_per_second": ",.0f"}
    return format(value, formats.get(name, "" if isinstance(value, int) else ".4f"))

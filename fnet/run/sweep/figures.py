"""The figures of a sweep: rows of the table, means and spreads over seeds, plots."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from fnet.run.config import option
from fnet.run.outcome import TEST_BEST, TEST_FINAL, TRAIN_FINAL
from fnet.run.sweep.arms import Arm, ArmResult, Sweep, results, runs
from fnet.show import plots
from fnet.show.live_table import Rows
from fnet.show.tables import MISSING

_COLUMNS = ["reported", "test, final", "test, best epoch", "train, final", "runs"]


def table(sweep: Sweep, reached: Sequence[ArmResult], states: Sequence[str]) -> Rows:
    """Return the table of a sweep, one row for each arm.

    Its first columns are the values of the swept options, or the label if there are none. Columns
    that say nothing in any row are left out.

    Args:
        sweep: the sweep.
        reached: what each arm has reached.
        states: what each arm is doing now, or why it was stopped.
    """
    names = list(sweep.arms[0].values)
    rows = [
        [
            *([_text(arm.values[name]) for name in names] or [arm.label]),
            arm.reported,
            spread(result.figures(TEST_FINAL)),
            spread(result.figures(TEST_BEST)),
            spread(result.figures(TRAIN_FINAL)),
            str(len(result.outcomes)),
            state,
        ]
        for arm, result, state in zip(sweep.arms, reached, states, strict=True)
    ]
    columns = [*([option(name)[2:] for name in names] or [""]), *_COLUMNS, "state"]
    kept = [
        place
        for place in range(len(columns))
        if place < max(1, len(names)) or any(row[place] not in ("", MISSING) for row in rows)
    ]
    return Rows(
        _title(sweep, reached),
        [columns[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
    )


def _text(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _title(sweep: Sweep, reached: Sequence[ArmResult]) -> str:
    """Return the question, and the data sets of the runs."""
    data = {run.data for arm in reached for run in arm.outcomes}
    return f"{sweep.question} On {' and '.join(sorted(data)) or 'nothing yet'}"


def spread(figures: Sequence[float]) -> str:
    """Return the mean in per cent and, for several figures, the minimum and the maximum.

    >>> spread([0.5]), spread([0.5, 0.6])
    ('50.0 %', '55.0 % (50.0 to 60.0)')
    """
    if not figures:
        return MISSING
    text = f"{mean(figures):.1%}".replace("%", " %")
    if len(figures) == 1:
        return text
    return f"{text} ({min(figures) * 100:.1f} to {max(figures) * 100:.1f})"


def draw(sweep: Sweep, out: Path) -> list[Path]:
    """Write the plots of what was reached, and return their files.

    `curves`: the mean curves of each arm over its seeds. `swept`: the final test accuracy over each
    swept option, if there are some.

    Raises:
        OSError: a file cannot be written.
    """
    curves = {arm.label: _mean_curve(arm, sweep, out) for arm in sweep.arms}
    curves = {label: lines for label, lines in curves.items() if lines}
    if not curves:
        return []
    written = plots.save(plots.curves(curves), out / "curves")
    points = [(result.arm.values, result.figures(TEST_FINAL)) for result in results(sweep, out)]
    points = [(values, figures) for values, figures in points if values and figures]
    if points:
        written += plots.save(plots.swept(points), out / "swept")
    return written


def _mean_curve(arm: Arm, sweep: Sweep, out: Path) -> list[dict[str, float]]:
    curves = [run.curves for run in runs(arm, sweep.seeds, out)]
    # An interrupted run is shorter: the mean ends with the shortest run.
    return [
        {name: mean([line[name] for line in lines]) for name in lines[0]}
        for lines in zip(*curves, strict=False)
    ]

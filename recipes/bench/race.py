"""The race of one row: all contenders are timed in turns, one at a time, for several rounds."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from recipes.bench.contender import Sample
from recipes.bench.meter import Meter, Timing
from recipes.bench.remote import ContenderError, Remote
from recipes.bench.roster import Candidate
from recipes.bench.work import Work

OWN = "fnet"
"""The name of the contender that the others are compared with."""

_TRIALS = 3
_TRIAL_SECONDS = 1.0


@dataclass
class Entry:
    """The measurements of one contender in a row.

    Attributes:
        note: the form of the contender that ran.
        set_up_seconds: from the start of its process to the end of the first training step.
        peak_memory: the peak resident memory of its process, in bytes.
        attempts: `attempts[kind][round]` lists the timings of one round; only the last one is used,
            the earlier ones were disturbed.
        error: why the contender could not start or finish.
    """

    note: str = ""
    set_up_seconds: float | None = None
    peak_memory: int = 0
    attempts: dict[str, list[list[Timing]]] = field(default_factory=dict)
    error: str | None = None

    def timings(self, kind: str) -> list[Timing]:
        """Return the timings that count, one for each round."""
        return [attempts[-1] for attempts in self.attempts.get(kind, [])]


def own_entry(entries: Mapping[str, Entry]) -> Entry:
    """Return the entry of fnet in a row, empty if it did not take part."""
    return entries.get(OWN, Entry())


def race(
    work: Work,
    contenders: Mapping[str, Sequence[Candidate]],
    meter: Meter,
    *,
    repeats: int,
    seconds: float,
    scratch: Path,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Entry]:
    """Return the measurements of each contender.

    All are set up first, and sleep while another one is timed. Every second round is in reverse
    order, so that no contender is at a disadvantage if the machine becomes slower.

    Args:
        work: the row.
        contenders: the forms of each contender by name; its fastest form takes part.
        meter: takes the timings.
        repeats: the number of rounds.
        seconds: the approximate duration of a timing.
        scratch: a directory for temporary files.
        say: called with messages about the progress.
    """
    entries = {name: Entry() for name in contenders}
    with ExitStack() as stack:
        running: dict[str, Remote] = {}
        for name, forms in contenders.items():
            say(f"{work.network}: setting up {name}")
            try:
                remote = fastest(work, forms, scratch, min(seconds, _TRIAL_SECONDS))
                running[name] = stack.enter_context(closing(remote))
                for kind in remote.kinds:
                    remote.timing(kind, min(seconds, _TRIAL_SECONDS))
            except ContenderError as error:
                entries[name].error = str(error)
                running.pop(name, None)
            else:
                entries[name].note = remote.note
                entries[name].set_up_seconds = remote.set_up_seconds
        for turn in range(repeats):
            say(f"{work.network}: round {turn + 1} of {repeats}")
            for name in list(running)[:: -1 if turn % 2 else 1]:
                try:
                    _take(running[name], entries[name], meter, seconds)
                except ContenderError as error:
                    entries[name].error = str(error)
                    del running[name]
    return entries


def fastest(work: Work, forms: Sequence[Candidate], scratch: Path, seconds: float) -> Remote:
    """Start a contender in each of its forms, and return the one that trains fastest.

    The processes of the others are ended. A form that fails is skipped.

    Raises:
        ContenderError: all forms fail.
    """
    champion, failure = None, ContenderError("it has no form for this row")
    try:
        for form in forms:
            try:
                rival = Remote(work, form, scratch)
                champion = rival if champion is None else _faster(champion, rival, seconds)
            except ContenderError as error:
                failure = error
    except BaseException:
        if champion is not None:
            champion.close()
        raise
    if champion is None:
        raise failure
    return champion


def _faster(champion: Remote, rival: Remote, seconds: float) -> Remote:
    """Return the faster one, and end the process of the other.

    Compares the best of several alternating timings, which other load on the machine affects less.
    """
    try:
        for remote in (champion, rival):
            remote.timing("train", 0.0)
        rates = [
            [remote.timing("train", seconds).rate for remote in (champion, rival)]
            for _ in range(_TRIALS)
        ]
        best, of_rival = map(max, zip(*rates, strict=True))
        loser = champion if of_rival > best else rival
    except BaseException:
        rival.close()
        raise
    loser.close()
    return rival if loser is champion else champion


def _take(remote: Remote, entry: Entry, meter: Meter, seconds: float) -> None:
    for kind in remote.kinds:

        def sample(kind: str = kind) -> Sample:
            taken = remote.timing(kind, seconds)
            entry.peak_memory = max(entry.peak_memory, taken.peak_memory)
            return taken

        entry.attempts.setdefault(kind, []).append(meter.take(sample))

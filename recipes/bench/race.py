"""The contenders of one row, timed in turns: round after round, one at a time."""

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
"""The contender that the others are compared with."""

_TRIALS = 3
_TRIAL_SECONDS = 1.0


@dataclass
class Entry:
    """What a contender did in a row.

    Attributes:
        note: the form in which it ran.
        set_up_seconds: from the start of its process to the end of the first training step.
        peak_memory: the largest resident memory of its process, in bytes.
        attempts: for each kind of step, and round, the timings taken: the last one counts.
        error: why it took no part, or not to the end.
    """

    note: str = ""
    set_up_seconds: float | None = None
    peak_memory: int = 0
    attempts: dict[str, list[list[Timing]]] = field(default_factory=dict)
    error: str | None = None

    def timings(self, kind: str) -> list[Timing]:
        """Return those that count, one of each round."""
        return [attempts[-1] for attempts in self.attempts.get(kind, [])]


def own_entry(entries: Mapping[str, Entry]) -> Entry:
    """Return what fnet did in a row: nothing where it took no part."""
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
    """Return what each contender did.

    All are set up first, and sleep while another one is timed. Every second round goes the other
    way round, so that a machine that becomes slower is nobody's disadvantage.

    Args:
        work: what they train.
        contenders: by name their forms, of which the fastest takes part.
        meter: takes the timings.
        repeats: how many rounds.
        seconds: about how long a timing takes.
        scratch: a directory for temporary files.
        say: is told how it goes.
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

    The others are ended. A form that fails is left out.

    Raises:
        ContenderError: all of them fail.
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
    """Return the faster one, and end the other.

    The best of several timings each, in turns: a disturbance should not decide.
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

"""Pre-training itself: the ablation of our own steps, and the peers beside the last of them.

Each part of the benchmark returns a `Section`: its rows as measured, what is judged, and its plots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnabert_nemo.bench.table import Row
from dnabert_nemo.bench.throughput.figures import Measured, compared, memory_compared
from dnabert_nemo.bench.throughput.group import Entry, measure
from dnabert_nemo.bench.throughput.ours import OurTraining, Way, ablation, all_of, compiled
from dnabert_nemo.bench.throughput.peers import MODERN, NAMES, ORIGINAL, SDPA, PeerTraining
from dnabert_nemo.bench.throughput.plots import Bars, Plot
from dnabert_nemo.bench.throughput.samples import Data, DrawnSteps, Setting
from dnabert_nemo.bench.throughput.settings import Settings, Turns

OURS = "ours"
_ALWAYS = ("original", "sdpa")  # the others are measured at the first k, with dropout
WITHOUT_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0}


@dataclass(frozen=True)
class Targets:
    """What is to be reached: times a peer's tokens a second, or tokens a second."""

    sdpa: float
    original: float
    sdpa_without_dropout: float | None = None
    embeddings: float | None = None
    to_pass: float | None = None
    goal: float | None = None
    wait: float = 1.0  # percent of a step


ON_CPU = Targets(sdpa=2.5, original=3.5, sdpa_without_dropout=1.9, embeddings=1.8)
ON_GPU = Targets(sdpa=3.0, original=6.0, to_pass=694_000, goal=868_000)
GOAL_GPU = "H200"  # which the tokens a second are stated for,
GOAL_PARAMETERS = 86_139_776  # with a model of as many, in bf16, at k = 3


def targets(settings: Settings) -> Targets:
    """Return the targets of this machine."""
    return ON_GPU if settings.here.is_gpu else ON_CPU


@dataclass(frozen=True)
class Group:
    """Rows that took turns."""

    title: str
    rows: list[Measured]
    is_ladder: bool = False  # each row has what the one above it has


@dataclass(frozen=True)
class Section:
    """A part of the benchmark."""

    name: str
    groups: list[Group] = field(default_factory=list)
    judged: list[Row] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    notes: str = ""


def training(settings: Settings, parts: Sequence[str], shards: dict[int, Path], folder: Path) -> Section:
    """Measure `ablation`, `peers` or both, each a table of its own: rows that wait take memory.

    Args:
        shards: a training set for each k.
    """
    first, *others = settings.ks
    setting = Setting(settings.shape(first), settings.precision, settings.seed)
    data = _drawn(settings, first, shards[first])
    title = f"k = {first}, dropout {setting.shape.hidden_dropout:g}"
    section = Section("training")
    if "ablation" in parts:
        _add_ablation(settings, section, title, setting, data, folder)
    if "peers" in parts:
        own, *peers = _beside_peers(settings, title, setting, data, folder, settings.peers, settings.turns)
        section.groups.append(Group(title, [own, *peers]))
        section.judged.extend(judged(settings, own, peers, title))
        section.plots.append(_bars("peers.png", f"Beside the peers, {title}", [own, *peers]))
        _add_without_dropout(settings, section, data, folder)
        for k in others:
            _add_other_k(settings, section, k, _drawn(settings, k, shards[k]), folder)
    return section


def _add_ablation(
    settings: Settings, section: Section, title: str, setting: Setting, data: DrawnSteps, folder: Path
) -> None:
    best = settings.kernels.kernels
    *before, (last, way) = ablation(best).items()
    named = [*before, (f"{last} = {OURS}", way), *compiled(best).items()]
    entries = [_ours(settings, name, way, setting, data) for name, way in named]
    title = f"ours, step by step: {title}"
    gains = measure(title, entries, settings.other_turns, folder, is_gpu=settings.here.is_gpu)
    section.groups.append(Group(title, gains, is_ladder=True))
    section.judged.append(compared("ours, beside the first row", gains[len(before)], gains[0]))
    section.plots.append(_bars("ablation.png", title, gains))


def judged(settings: Settings, own: Measured, peers: Sequence[Measured], title: str) -> list[Row]:
    """Return the rows of the headline: speed and memory beside the peers, and beside the goal on one GPU."""
    aim = targets(settings)
    ratios = {SDPA: aim.sdpa, ORIGINAL: aim.original}
    fastest = max(peers, key=lambda peer: peer.speed or 0.0, default=None)
    rows = [
        compared(
            f"training, {title}",
            own,
            peer,
            target_ratio=ratios.get(peer.name),
            note="the fastest of the peers" if peer is fastest else "",
        )
        for peer in peers
    ]
    rows += [memory_compared(f"peak memory, {title}", own, peer) for peer in peers if peer.name == SDPA]
    return rows + on_one_gpu(settings, own)


def on_one_gpu(settings: Settings, own: Measured) -> list[Row]:
    """Return the goals on one GPU, and on a CPU the ratios too, as not measured."""
    rows = []
    what = f"training 86M on one {GOAL_GPU}, bf16, k = 3"
    why = _not_the_goals(settings)
    speed, note = (None, why) if why else (own.speed, own.reason)
    rows.append(Row(what, speed, "tokens/s", target=ON_GPU.to_pass, note=note))
    rows.append(Row(f"{what}: the goal", speed, "tokens/s", target=ON_GPU.goal, note=note))
    if not settings.here.is_gpu:
        why = "there is no GPU here"
        rows.append(Row("training on a GPU", None, "tokens/s", SDPA, target_ratio=ON_GPU.sdpa, note=why))
        rows.append(
            Row("training on a GPU", None, "tokens/s", ORIGINAL, target_ratio=ON_GPU.original, note=why)
        )
    return rows


def _not_the_goals(settings: Settings) -> str:
    """Say why what is measured here is not what the goals are stated for; "" where it is."""
    if settings.here.gpu is None or GOAL_GPU not in settings.here.gpu:
        return f"there is no {GOAL_GPU} here: the same command on one measures it"
    k = settings.ks[0]
    if settings.precision != "bf16":
        return f"this is {settings.precision}, and the goal is stated for bf16"
    if k != 3 or settings.shape(k).num_parameters() != GOAL_PARAMETERS:
        return "this is another model or k than the goal is stated for"
    return ""


def _add_without_dropout(settings: Settings, section: Section, data: DrawnSteps, folder: Path) -> None:
    setting = Setting(settings.shape(data.k, **WITHOUT_DROPOUT), settings.precision, settings.seed)
    title = f"k = {data.k}, dropout 0"
    own, *peers = _beside_peers(settings, title, setting, data, folder, _ALWAYS, settings.other_turns)
    section.groups.append(Group(title, [own, *peers]))
    ratios = {SDPA: targets(settings).sdpa_without_dropout}
    section.judged.extend(
        compared(f"training, {title}", own, peer, target_ratio=ratios.get(peer.name)) for peer in peers
    )


def _add_other_k(settings: Settings, section: Section, k: int, data: DrawnSteps, folder: Path) -> None:
    setting = Setting(settings.shape(k), settings.precision, settings.seed)
    title = f"k = {k}, dropout {setting.shape.hidden_dropout:g}"
    own, *peers = _beside_peers(settings, title, setting, data, folder, _ALWAYS, settings.scaling.turns)
    section.groups.append(Group(title, [own, *peers]))
    section.judged.extend(compared(f"training, {title}", own, peer) for peer in peers)


def _beside_peers(
    settings: Settings,
    title: str,
    setting: Setting,
    data: DrawnSteps,
    folder: Path,
    names: Sequence[str],
    turns: Turns,
) -> list[Measured]:
    """Measure ours, and those peers of `names` that are asked for."""
    entries = [
        _ours(settings, OURS, all_of(settings.kernels.kernels), setting, data),
        *(_peer(settings, NAMES[name], setting, data) for name in settings.peers if name in names),
    ]
    return measure(title, entries, turns, folder, is_gpu=settings.here.is_gpu)


def _drawn(settings: Settings, k: int, shards: Path) -> DrawnSteps:
    batch = settings.batch
    drawn = DrawnSteps(
        shards,
        k,
        settings.seed,
        batch.rows,
        batch.micro_batch_size,
        batch.tokens_per_row,
        batch.num_steps,
        batch.samples,
    )
    drawn.firsts()  # or there is no use in starting a row
    return drawn


def _ours(settings: Settings, name: str, way: Way, setting: Setting, data: Data) -> Entry:
    return Entry(name, OurTraining(data, setting, way), settings.threads, setting.shape)


def _peer(settings: Settings, name: str, setting: Setting, data: Data) -> Entry:
    work = PeerTraining(name, data, setting, settings.batch.peer_samples)
    return Entry(name, work, settings.threads, None if name == MODERN else setting.shape)


def _bars(file: str, title: str, rows: Sequence[Measured]) -> Bars:
    there = [row for row in rows if row.turns]
    return Bars(
        file,
        title,
        "tokens/s without padding",
        [row.name for row in there],
        [row.speeds for row in there],
    )

"""A category scored in shards that know nothing of one another; their sum has the bits of one process.

Every threshold is an anomalous score of some shard, so there are two rounds. In the first a shard looks at its maps and
keeps its anomalous scores; those of all shards, ranked, are the thresholds. In the second it counts its normal pixels
between them. What a round leaves is the bytes of an npz file without pickle: the JSON text ``facts``, and arrays whose
names begin with the pass that they are of: ``pixels``, or ``thinned`` and ``turned``, by which maps that are inverted
or transposed are found.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from aseg_bench.datasets.questions import Look
from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.images import image_size
from aseg_bench.metrics import FirstPass, Needs, Ranking, SecondPass, Sweep, finish, needs_of
from aseg_bench.metrics.first_pass import CURVE_ONLY
from aseg_bench.predictions.checks import MapsLook, Seen, Suspicion, thinned, to_turn
from aseg_bench.predictions.imported import (
    Category,
    ImportedMaps,
    bad_maps,
    check_clamped,
    differing_sizes,
    look_at_own,
    of_own_masks,
)
from aseg_bench.protocols import EXACT, Protocol
from aseg_bench.protocols.meeting import Meeting
from aseg_bench.records import Case, Score
from aseg_bench.scoring.categories import Scored, computed_for, odd, size_of

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]
View = tuple[str, NDArray[Any], NDArray[np.bool_]]  # pass, scores, truth


class Shard(NamedTuple):
    """Every ``of``-th image of each category, from the ``number``-th on; numbers begin with 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that a text like ``3/16`` names.

        Raises:
            InputError: it names none.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise InputError(f"{text!r} is not a shard; give its number, from 1 on, and their count, as 3/16")
        return cls(int(number), int(of))

    @property
    def some(self) -> slice:
        """Its items in a sequence."""
        return slice(self.number - 1, None, self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def interleaved(parts: Sequence[Sequence[T]]) -> list[T]:
    """The sequence whose shards are these, in their order."""
    whole: list[Any] = [None] * sum(map(len, parts))
    for number, part in enumerate(parts, start=1):
        whole[Shard(number, len(parts)).some] = part
    return whole


@dataclass(frozen=True)
class Rules:
    """How every shard is scored.

    Attributes:
        protocol: how maps and truth are compared.
        metrics: keys of ``METRICS``; None takes the default ones.

    Raises:
        InputError: the protocol computes what shards do not add up to.
    """

    protocol: Protocol = EXACT
    metrics: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.protocol.is_restated:
            raise InputError(
                f"shards add up to the scores of the protocols exact and native, not of {self.protocol.name}, which "
                "restates code that needs all maps of a category at once; leave out --shard"
            )

    @property
    def needs(self) -> dict[str, Needs]:
        """What each pass is to collect."""
        keys = list(computed_for(self.metrics, self.protocol).values())
        return {"pixels": needs_of(keys) | CURVE_ONLY, "thinned": CURVE_ONLY, "turned": CURVE_ONLY}


def look(imported: ImportedMaps, category: str, shard: Shard, rules: Rules) -> bytes:
    """The first round of a shard of a category: its anomalous scores, and all else that is to be known of its maps.

    Raises:
        InputError: maps are bad, or are read in a way that all maps of the category decide.
    """
    reading = _Reading.of(imported, category, shard, rules)
    part = reading.category
    passes, seen = {name: FirstPass(needs) for name, needs in rules.needs.items()}, MapsLook()
    shapes: list[tuple[int, int]] = []
    types: dict[str, str] = {}
    faults, own, is_square, read = [], [], True, sha256()
    for index, (place, sample) in enumerate(zip(reading.places, part.samples, strict=True)):
        try:
            scores = part.maps[index]
        except InputError as error:
            faults.append(str(error))
            continue
        shapes.append(scores.shape)
        types.setdefault(scores.dtype.name, sample.name)
        if faults or len(types) > 1:
            continue
        reading.note(index, read)
        views = list(reading.views(index))
        for name, view, truth in views:
            passes[name].update(view, truth, index=place, name=sample.name)
        seen.update(scores, reading.plain.truths[index], thinned(scores))
        is_square = is_square and len(views) != len(passes) - 1
        if part.masks is not None:
            own.append(look_at_own(part.masks[index], sample, rules.protocol.mask_rule))
    if faults:
        raise bad_maps(category, faults, len(part.samples))
    check_types(category, types)
    imported.check_apart(category, part.samples, shapes)
    lost, n_marked = reading.meeting.lost_defects
    facts = {
        "names": [sample.name for sample in part.samples],
        "read": read.hexdigest(),
        "types": types,
        "shapes": sorted(set(shapes)),
        "misfit": _misfit(imported, part, shapes),
        "frames": reading.meeting.shapes,
        "lost": [reading.places[index] for index in lost],
        "n_marked": n_marked,
        "is_square": is_square,
        "is_half": seen.is_half,
        "own_masks": own,
        "notes": [(one.kind, one.text) for one in part.suspicions],
        "refuses_clamped": imported.refuses_clamped,
    }
    arrays = {
        "lows": np.array([one.low for one in seen.seen]),
        "highs": np.array([one.high for one in seen.seen]),
        "sizes": np.array([one[2:] for one in seen.seen], np.int64).reshape(-1, 3),
        "levels": seen.levels,
        "truth_counts": seen.truth_counts,
    }
    return packed(facts, arrays | _named({name: one.to_arrays() for name, one in passes.items()}))


def thresholds(category: str, looks: Sequence[bytes], rules: Rules) -> bytes:
    """What every shard of a category counts against in the second round, from the first round of all of them.

    Raises:
        InputError: the maps of one shard are of another type than those of another.
    """
    looked = [unpacked(look) for look in looks]
    check_types(category, {kind: name for facts, _ in looked for kind, name in facts["types"].items()})
    rankings = _rankings([arrays for _, arrays in looked], rules)
    return packed({}, _named({name: ranking.to_arrays() for name, ranking in rankings.items()}))


def fingerprint(against: bytes) -> str:
    """SHA-256 over the arrays of `thresholds`, however a machine compresses them."""
    total = sha256()
    for name, array in sorted(unpacked(against)[1].items()):
        total.update(name.encode() + b"\0" + array.tobytes())
    return total.hexdigest()


def count(imported: ImportedMaps, category: str, shard: Shard, rules: Rules, against: bytes) -> bytes:
    """The second round of a shard of a category: its normal pixels, counted between the `thresholds`.

    Raises:
        InputError: maps are bad.
    """
    read, reading, (_, arrays) = sha256(), _Reading.of(imported, category, shard, rules), unpacked(against)
    passes = {name: SecondPass(Ranking.of_arrays(needs, _of(name, arrays))) for name, needs in rules.needs.items()}
    for index, (place, sample) in enumerate(zip(reading.places, reading.category.samples, strict=True)):
        reading.note(index, read)
        for name, view, truth in reading.views(index):
            label = sample.is_anomalous if name == "pixels" else None
            passes[name].update(view, truth, image_label=label, index=place, name=sample.name)
    return packed({"read": read.hexdigest()}, _named({name: one.to_arrays() for name, one in passes.items()}))


def add_up(case: Case, rules: Rules, looks: Sequence[bytes], counts: Sequence[bytes]) -> tuple[Scored, list[Suspicion]]:
    """The scores of a category from both rounds of all its shards, and what looks wrong in its maps.

    Args:
        case: what the scores will be about.
        rules: those of all shards.
        looks: the first rounds, by number of the shard.
        counts: the second ones, likewise.

    Raises:
        InputError: sizes differ, the maps look clamped, or they or their truth have changed between the rounds.
    """
    looked, counted = ([unpacked(data) for data in of_round] for of_round in (looks, counts))
    for number, ((first, _), (second, _)) in enumerate(zip(looked, counted, strict=True), start=1):
        if first["read"] != second["read"]:
            raise InputError(
                f"maps or masks of {case.category} have changed between the two rounds of shard {number}; score all "
                "shards again, into another folder"
            )
    facts, names = [of for of, _ in looked], interleaved([of["names"] for of, _ in looked])
    shapes = {(height, width) for of in facts for height, width in of["shapes"]}
    if len(shapes) > 1 and (misfit := next((of["misfit"] for of in facts if of["misfit"]), "")):
        raise differing_sizes(case.category, shapes, misfit)
    sweeps = _sweeps([arrays for _, arrays in looked], [arrays for _, arrays in counted], rules)
    seen = _seen(looked)
    found = [
        *(Suspicion(*note) for note in facts[0]["notes"]),
        *of_own_masks([Look(*one) for one in interleaved([of["own_masks"] for of in facts])]),
        *seen.suspicions(
            names,
            _auroc(sweeps["thinned"]),
            lambda: _auroc(sweeps["turned"]) if all(of["is_square"] for of in facts) else None,
        ),
    ]
    if facts[0]["refuses_clamped"]:
        check_clamped(case.category, found)
    computed = computed_for(rules.metrics, rules.protocol)
    measured = finish(sweeps["pixels"], list(dict.fromkeys(computed.values())))
    stamp, values, undefined = rules.protocol.stamp, measured.values, measured.undefined
    scores = [
        Score(case, key, values.get(source), len(names), stamp, undefined.get(source, ""))
        for key, source in computed.items()
    ]
    lost = [names[place] for place in sorted(place for of in facts for place in of["lost"])]
    frames = sorted({(height, width) for of in facts for height, width in of["frames"]},
                    key=lambda shape: (shape[0] * shape[1], shape))  # fmt: skip
    findings = odd(case, measured, lost, sum(of["n_marked"] for of in facts), rules.protocol)
    return Scored(scores, findings, size_of(frames)), found


def packed(facts: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The bytes of an npz file."""
    file, members = BytesIO(), {**arrays, "facts": np.array(json.dumps(facts))}
    np.savez_compressed(file, **members)  # type: ignore[arg-type] # whose other argument has a name of its own
    return file.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `packed` was given."""
    with np.load(BytesIO(data), allow_pickle=False) as stored:
        arrays = dict(stored)
    facts = json.loads(str(arrays.pop("facts")))
    return facts, arrays


def check_types(category: str, types: Mapping[str, str]) -> None:
    """Refuse maps of several types, which one process brings to the one that holds all of them.

    Raises:
        InputError: there are several; names a map of each.
    """
    if len(types) > 1:
        listed = ", ".join(f"{kind} ({name})" for kind, name in types.items())
        raise InputError(
            f"the maps of {category} are of several types, {listed}; write all as one, or score them in one process, "
            "without --shard, --workers and --dask"
        )


class _Reading(NamedTuple):
    """The images of a shard, read one by one.

    Attributes:
        places: of the images in the category.
        category: their samples, maps and masks.
        meeting: maps and truths under the protocol.
        plain: truths at the size of the maps, by which oddities are looked for.
        turned: places by which sign and orientation are.
    """

    places: range
    category: Category
    meeting: Meeting
    plain: Meeting
    turned: frozenset[int]

    @classmethod
    def of(cls, imported: ImportedMaps, category: str, shard: Shard, rules: Rules) -> "_Reading":
        part = imported.part(category, shard.some)
        meeting = Meeting(part.samples, part.maps, part.masks, rules.protocol, 0)
        exact = replace(EXACT, mask_rule=rules.protocol.mask_rule)
        plain = meeting if rules.protocol == exact else Meeting(part.samples, part.maps, part.masks, exact, 0)
        samples = [sample for sample, _ in imported.found[category]]
        return cls(range(len(samples))[shard.some], part, meeting, plain, frozenset(to_turn(samples)))

    def note(self, index: int, read: Any) -> None:
        """Add the map and the truth of an image to a digest of what was read."""
        truth = self.meeting.truths[index]
        for values in (self.category.maps[index], np.ma.getdata(truth), np.ma.getmaskarray(truth)):
            read.update(np.ascontiguousarray(values))

    def views(self, index: int) -> Iterator[View]:
        """What each pass takes of an image."""
        yield "pixels", self.meeting.scores[index], self.meeting.truths[index]
        if self.places[index] not in self.turned:
            return
        scores, truth = thinned(self.category.maps[index]), thinned(self.plain.truths[index])
        yield "thinned", scores, truth
        if scores.shape[0] == scores.shape[1]:
            yield "turned", scores.T, truth


def _misfit(imported: ImportedMaps, part: Category, shapes: Sequence[tuple[int, int]]) -> str:
    """The first image whose map has another size, as is to be refused where the maps of the category differ in size."""
    for sample, shape in zip(part.samples, shapes, strict=True):
        if imported.has_own_truth or shape != image_size(sample.image_path):
            return sample.name
    return ""


def _named(passes: Mapping[str, Arrays]) -> dict[str, NDArray[Any]]:
    return {f"{name}.{key}": array for name, arrays in passes.items() for key, array in arrays.items()}


def _of(name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}


def _rankings(looks: Sequence[Arrays], rules: Rules) -> dict[str, Ranking]:
    passes = {name: FirstPass(needs) for name, needs in rules.needs.items()}
    for arrays in looks:
        for name, one in passes.items():
            one.take(_of(name, arrays))
    return {name: one.compute() for name, one in passes.items()}


def _sweeps(looks: Sequence[Arrays], counts: Sequence[Arrays], rules: Rules) -> dict[str, Sweep]:
    passes = {name: SecondPass(ranking) for name, ranking in _rankings(looks, rules).items()}
    for arrays in counts:
        for name, one in passes.items():
            one.take(_of(name, arrays))
    return {name: one.compute() for name, one in passes.items()}


def _seen(looked: Sequence[tuple[Mapping[str, Any], Arrays]]) -> MapsLook:
    """The looks at the maps of all shards as one."""
    whole, by_shard = MapsLook(), []
    for facts, arrays in looked:
        by_shard.append(list(map(Seen, arrays["lows"], arrays["highs"], *arrays["sizes"].T.tolist())))
        whole.merge(MapsLook([], arrays["levels"], facts["is_half"], arrays["truth_counts"]))
    whole.seen = interleaved(by_shard)
    return whole


def _auroc(sweep: Sweep) -> float | None:
    try:
        return sweep.curve.auroc
    except UndefinedMetricError:
        return None

"""Files of shards: what ``aseg-bench eval --shard`` writes, and what ``aseg-bench merge`` adds up.

Each is a zip without compression: ``part.json`` says what it is, and ``0.npz``, ``1.npz``, ... are the tallies of each
category (see `scoring.shards`) in the order of its ``plan.categories``. There is one for each of the two rounds; the
first also has ``files.json``, the shard's account of its files.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self
from zipfile import ZipFile

from aseg_bench.errors import InputError, first_few
from aseg_bench.files import reading, written_whole
from aseg_bench.runs.shards import VERSION, Facts, FilesJob, Job, Plan, dump_of, facts_of
from aseg_bench.runs.sources import Source
from aseg_bench.scoring.categories import SCORING
from aseg_bench.scoring.dumps import ScoredDump
from aseg_bench.scoring.shards import Shard, fingerprint, thresholds, unpacked

_ROUNDS = ("looks", "counts")
_AGAIN = "remove it, and give the command of its shard again"


class Tallied(NamedTuple):
    """What a shard's command has written, and which files of other shards are still missing in this round."""

    path: Path
    missing: list[str]
    is_last_round: bool


def tally(source: Source, plan: Plan, shard: Shard, out: Path, tell: Callable[[], None]) -> Tallied:
    """Do what can be done of a shard: the first round, and the second once all shards have done the first.

    Args:
        source: of the maps.
        plan: of the evaluation.
        shard: which part of its images.
        out: folder of the files of all shards.
        tell: called for each category in each round.

    Raises:
        InputError: maps cannot be used, or the folder holds shards of something else.
    """
    names = list(plan.categories)
    path = out / _name(shard, "looks")
    held = _held(out, plan)
    if shard.number not in held["looks"]:
        looks = []
        for name in names:
            looks.append(Job(source, plan.rules, shard, name).done())
            tell()
        members = {f"{index}.npz": data for index, data in enumerate(looks)}
        members["files.json"] = FilesJob(source, shard).done()
        held["looks"][shard.number] = _write(path, plan, shard, "looks", members, {})
    missing = [_name(other, "looks") for other in plan.shards if other.number not in held["looks"]]
    if missing:
        return Tallied(path, missing, False)
    path, firsts = out / _name(shard, "counts"), [held["looks"][other.number] for other in plan.shards]
    against = {
        name: thresholds(name, [part.tallies(index) for part in firsts], plan.rules) for index, name in enumerate(names)
    }
    digests = {name: fingerprint(of) for name, of in against.items()}
    if shard.number not in held["counts"] or held["counts"][shard.number].against != digests:
        counts = {}
        for index, name in enumerate(names):
            counts[f"{index}.npz"] = Job(source, plan.rules, shard, name, against[name]).done()
            tell()
        held["counts"][shard.number] = _write(path, plan, shard, "counts", counts, digests)
    return Tallied(path, [_name(one, "counts") for one in plan.shards if one.number not in held["counts"]], True)


class Merged(NamedTuple):
    """What the files of all shards add up to."""

    plan: Plan
    facts: Facts
    dump: ScoredDump


def merged(paths: Sequence[Path]) -> Merged:
    """Add up the files of all shards, in any order.

    Args:
        paths: the files, or folders of them.

    Raises:
        InputError: a file is not of a shard or is damaged, or some are missing, are there twice or do not belong
            together; names them.
    """
    files = [file for path in paths for file in (_parts_in(path) if path.is_dir() else [path])]
    if not files:
        raise InputError(
            f"no file of a shard in {first_few(list(map(str, paths)))}; `aseg-bench eval --shard` writes them"
        )
    parts = [Part.read(file) for file in files]
    plan = parts[0].plan
    held = _sorted_out(parts, plan)
    missing = [_name(one, kind) for kind in _ROUNDS for one in plan.shards if one.number not in held[kind]]
    if missing:
        raise InputError(
            f"of {plan.n_shards} shards these files are missing: {first_few(missing)}; give their command "
            "again, which does what is left, and then merge all"
        )
    with _reading(first_few(list(map(str, files))), "{} are not files of shards, or one is damaged"):
        return _added_up(plan, *([held[kind][shard.number] for shard in plan.shards] for kind in _ROUNDS))


def _added_up(plan: Plan, looks: Sequence["Part"], counts: Sequence["Part"]) -> Merged:
    """What both rounds of all shards add up to.

    Raises:
        InputError: they do not belong together.
    """
    for index, name in enumerate(plan.categories):
        digest = fingerprint(thresholds(name, [part.tallies(index) for part in looks], plan.rules))
        stale = [str(part.path) for part in counts if part.against.get(name) != digest]
        if stale:
            raise InputError(
                f"{first_few(stale)} counted {name} against other first rounds than are given; give the command of "
                "these shards again"
            )
    first, second = ([_Members(part, plan) for part in of] for of in (looks, counts))
    return Merged(plan, facts_of(plan, [part.account for part in looks]), dump_of(plan, first, second))


@dataclass(frozen=True)
class Part:
    """A file of a shard.

    Attributes:
        path: where it lies.
        plan: what it has in common with the other shards.
        shard: which one.
        kind: its round.
        against: of the second round, by category the fingerprint of the thresholds that it counted between.
    """

    path: Path
    plan: Plan
    shard: Shard
    kind: str
    against: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the text of a file; the tallies stay there.

        Raises:
            InputError: it is not a file of a shard, or of another version.
        """
        with _reading(path), ZipFile(path) as archive:
            content = json.loads(archive.read("part.json"))
            if (content["plan"]["version"], content["plan"]["scoring"]) != (VERSION, SCORING):
                raise InputError(
                    f"another version of aseg-bench wrote {path}; write and merge all shards with one version"
                )
            plan, shard = Plan(**content["plan"]), Shard.parse(content["shard"])
            if plan.stamp != plan.rules.protocol.stamp:
                raise InputError(f"{path} is of {plan.stamp}, which is now {plan.rules.protocol.stamp}; score it again")
            if content["round"] not in _ROUNDS or shard.of != plan.n_shards:
                raise ValueError("its shard or its round is none of the plan")
            return cls(path, plan, shard, content["round"], content.get("against", {}))

    def tallies(self, index: int) -> bytes:
        """Those of the category at this place in the plan.

        Raises:
            InputError: the file is damaged.
        """
        with _reading(self.path), ZipFile(self.path) as archive:
            data = archive.read(f"{index}.npz")
            unpacked(data)  # damage is seen here, where the file is known
            return data

    @property
    def account(self) -> dict[str, Any]:
        """What the shard says of its files, in the first round.

        Raises:
            InputError: the file is damaged.
        """
        with _reading(self.path), ZipFile(self.path) as archive:
            content: dict[str, Any] = json.loads(archive.read("files.json"))
            return content


def _reading(
    where: Path | str, said: str = "{} is not a file of a shard, or is damaged"
) -> AbstractContextManager[None]:
    return reading(where, _AGAIN, said)


class _Members(Mapping[str, bytes]):
    """The tallies in a file by category, read when asked for."""

    def __init__(self, part: Part, plan: Plan) -> None:
        self._part, self._names = part, list(plan.categories)

    def __getitem__(self, category: str) -> bytes:
        return self._part.tallies(self._names.index(category))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _name(shard: Shard, kind: str) -> str:
    digits = len(str(shard.of))
    return f"shard-{shard.number:0{digits}}-of-{shard.of}.{kind}.zip"


def _write(
    path: Path,
    plan: Plan,
    shard: Shard,
    kind: str,
    members: Mapping[str, bytes],
    against: Mapping[str, str],
) -> Part:
    text = {"plan": asdict(plan), "shard": str(shard), "round": kind, "against": against}
    with written_whole(path) as temporary, ZipFile(temporary, "w") as archive:
        archive.writestr("part.json", json.dumps(text, indent=1))
        for name, data in members.items():
            archive.writestr(name, data)
    return Part(path, plan, shard, kind, against)


def _parts_in(folder: Path) -> list[Path]:
    return sorted(path for kind in _ROUNDS for path in folder.glob(f"shard-*.{kind}.zip"))


def _held(out: Path, plan: Plan) -> dict[str, dict[int, Part]]:
    """The files of shards in a folder, by round and number."""
    return _sorted_out(list(map(Part.read, _parts_in(out))), plan)


def _sorted_out(parts: Sequence[Part], plan: Plan) -> dict[str, dict[int, Part]]:
    """The files of one plan, by round and number.

    Raises:
        InputError: one is of another plan, or two are of one shard.
    """
    held: dict[str, dict[int, Part]] = {kind: {} for kind in _ROUNDS}
    for part in parts:
        if differences := plan.differences(part.plan):
            raise InputError(
                f"{part.path} does not belong to the other shards: it differs in {'; '.join(differences)}; keep the "
                "files of each evaluation in a folder of their own"
            )
        other = held[part.kind].setdefault(part.shard.number, part)
        if other is not part:
            raise InputError(f"{other.path} and {part.path} are both of shard {part.shard}; give each shard once")
    return held

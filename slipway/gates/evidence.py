"""What verdicts are made from, as it is stored before anything is judged: a folder that needs no endpoint.

evidence.json          findings, cold start, baseline: everything that is no sample
<workload>.parquet     the raw samples of a workload, with the client's report on itself
live/<workload>.parquet        those of the live release, where it was measured beside
questions/<workload>.parquet   what was asked, with the right answers, where it came from a file
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from slipway.errors import Corrupt, Misconfigured
from slipway.files import write_atomic
from slipway.gates.questions import QUESTIONS_FOLDER, Asked, read_questions
from slipway.measure.conformance import Probe
from slipway.measure.counters import Counters
from slipway.measure.quality import Quality
from slipway.measure.samples import Sample, about, from_parquet, to_parquet

FACTS_FILE = "evidence.json"
LIVE_FOLDER = "live"
_QUALITY = TypeAdapter(Quality)
_QUALITY_KEY = "quality"
_COUNTERS: TypeAdapter[Counters | None] = TypeAdapter(Counters | None)
_COUNTERS_KEY = "counters"


class Comparable(BaseModel):
    """Accepted releases whose figures of one workload compare with the candidate's.

    Attributes:
        releases: Their ids, oldest first.
        figures: By figure id (`Gate.figure_id`), one value a release.
        right: Of the last of them, which questions it answered rightly, by request id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    releases: tuple[str, ...] = ()
    figures: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    right: dict[str, bool] = Field(default_factory=dict)


class Facts(BaseModel):
    """All that is judged beside the samples.

    Attributes:
        drift: Differences between what was asked for and what the server reports.
        probes: Outcomes of the conformance checks; None where they were not run.
        cold_start_s: Start of the candidate by phase; empty where Slipway did not start it.
        kernels: What the engine had to compile although it was made beforehand; None where nobody counted.
        baseline: By workload, what the candidate is compared with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    drift: tuple[str, ...] = ()
    probes: tuple[Probe, ...] | None = None
    cold_start_s: dict[str, float] = Field(default_factory=dict)
    kernels: tuple[str, ...] | None = None
    baseline: dict[str, Comparable] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A candidate as it was observed.

    Attributes:
        facts: All that is no sample.
        samples: By workload.
        quality: By workload, whether the client kept up.
        live: Samples of the live release by workload, taken block by block in turn with the candidate's.
        counters: By workload, what the server counted meanwhile; None where it was started anew.
        questions: By workload and request id, what was asked, where it came from a file.
    """

    facts: Facts = field(default_factory=Facts)
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    quality: Mapping[str, Quality] = field(default_factory=dict)
    live: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    counters: Mapping[str, Counters | None] = field(default_factory=dict)
    questions: Mapping[str, Mapping[str, Asked]] = field(default_factory=dict)


def save_facts(folder: Path, facts: Facts) -> None:
    """Store what is no sample."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / FACTS_FILE, facts.model_dump_json(indent=2).encode())


def save_samples(
    folder: Path, workload: str, samples: tuple[Sample, ...], quality: Quality, counters: Counters | None = None
) -> None:
    """Store one workload's samples, replacing those of earlier blocks, with what client and server say of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {_QUALITY_KEY: _QUALITY.dump_json(quality).decode(), _COUNTERS_KEY: _COUNTERS.dump_json(counters).decode()}
    data = to_parquet(samples, about=said)
    write_atomic(folder / f"{workload}.parquet", data)


def read_folder(folder: Path) -> Evidence:
    """Read a folder of evidence.

    Raises:
        Misconfigured: If there is none.
        Corrupt: If it cannot be read.
    """
    if not (folder / FACTS_FILE).is_file():
        raise Misconfigured(
            f"{folder} holds no evidence: {FACTS_FILE} is missing.",
            remedy="Name a folder that `slipway gate --save` wrote, or a release that `slipway runs` lists.",
        )
    paths = [FACTS_FILE, *(path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.parquet")))]
    return read(paths, lambda path: (folder / path).read_bytes())


def read(paths: Iterable[str], bytes_of: Callable[[str], bytes]) -> Evidence:
    """Evidence from what was stored.

    Args:
        paths: Every file of the folder, relative to it.
        bytes_of: Reads one of them.

    Raises:
        Corrupt: If it cannot be read.
    """
    files = {PurePosixPath(path): bytes_of(path) for path in paths}
    tables = {path: data for path, data in files.items() if path.suffix == ".parquet"}
    own = {path.stem: data for path, data in tables.items() if path.parent == PurePosixPath()}
    try:
        return Evidence(
            facts=Facts.model_validate_json(files[PurePosixPath(FACTS_FILE)]),
            samples={name: tuple(from_parquet(data)) for name, data in own.items()},
            quality={name: _QUALITY.validate_json(about(data)[_QUALITY_KEY]) for name, data in own.items()},
            counters={name: _COUNTERS.validate_json(about(data)[_COUNTERS_KEY]) for name, data in own.items()},
            live={p.stem: tuple(from_parquet(data)) for p, data in tables.items() if p.parent.name == LIVE_FOLDER},
            questions={p.stem: read_questions(d) for p, d in tables.items() if p.parent.name == QUESTIONS_FOLDER},
        )
    except (ValidationError, KeyError) as error:
        raise Corrupt(
            f"The evidence cannot be read: {error}.",
            remedy="It was damaged or written by another version of Slipway: measure again.",
        ) from None

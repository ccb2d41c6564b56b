"""What a report is made of. Whoever fills it reads the store; the report itself reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cbt_ray.analysis.analyse import Analysis
from cbt_ray.analysis.notice import Notice
from cbt_ray.rating.judge import ItemRating
from cbt_ray.rating.scale import Scale
from cbt_ray.study.endpoint import Role
from cbt_ray.study.imported import OWN_JUDGE
from cbt_ray.study.patients import SimulatedPatient
from cbt_ray.study.protocol import Sessions
from cbt_ray.study.recipe import Recipe
from cbt_ray.therapy.session import Session
from cbt_ray.training.measured import Kept, Point, point_of
from cbt_ray.training.preference import PairFigures


@dataclass(frozen=True)
class ReportedRating:
    """One judge replicate's rating of one session in one view, or its answer to a probe."""

    view: str
    judge_replicate: int
    items: Mapping[str, ItemRating]
    total: float | None = None
    reason: str | None = None
    """Why the session is unrated."""
    judge: str = OWN_JUDGE
    kind: str = "model"
    """`model` or `human`."""
    note: str | None = None
    """What was answered beside scores: the guess of a probe, with its reasons."""


@dataclass(frozen=True)
class ReportedSession:
    """One scheduled session with its transcript, where there is one, and its ratings."""

    key: str
    arm: str
    patient: str
    replicate: int
    number: int
    phase: str
    session: Session | None = None
    """None where it was not held."""
    stop_reason: str | None = None
    flags: Sequence[str] = ()
    ratings: Sequence[ReportedRating] = ()
    reason: str | None = None
    """Why there is no transcript."""


@dataclass(frozen=True)
class StageRow:
    """What became of a stage's units."""

    stage: str
    done: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Reason -> count."""
    not_reached: int = 0
    owed: int = 0


@dataclass(frozen=True)
class CostRow:
    """What a stage cost."""

    stage: str
    calls: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost: float | None = None
    """Dollars; None where nobody charges or knows the price."""
    seconds: float = 0.0
    faults: Mapping[str, int] = field(default_factory=dict)
    """Kind -> count of calls that had to be repeated or failed."""


Curve = Sequence[tuple[int, float | None]]
"""(step, what was measured there); None: no finite number."""


@dataclass(frozen=True)
class Curves:
    """What was measured of a training on its way."""

    loss: Curve = ()
    grad_norm: Curve = ()
    tokens_per_second: Curve = ()
    memory_gib: Curve = ()
    resumed: Sequence[int] = ()
    """Steps after which a later run took the training up; 0: it began anew."""
    margin: Curve = ()
    """Of chosen answers over rejected ones, where a model was tuned on pairs."""


@dataclass(frozen=True)
class PairsRow:
    """How a model took to preference pairs before its training, or after it."""

    kind: str
    """`training` or `held-out`."""
    pairs: int
    """How many were measured."""
    when: str
    """`before` or `after`."""
    figures: PairFigures


@dataclass(frozen=True)
class CheckRow:
    """One parity check of an exported model."""

    name: str
    passed: bool | None
    """None: measured and reported, it decides nothing."""
    measured: object = None
    expected: object = None


@dataclass(frozen=True)
class FileRow:
    """One file of a tuned or compared model in the store."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class TrainingRow:
    """How one model was tuned, or exported to be compared with."""

    model: str
    steps: int | None = None
    measured: Sequence[Point] = ()
    """Losses by split before it, at each epoch and at its end."""
    kept: Kept | None = None
    """Which of them are the model's."""
    tokens: int | None = None
    """Tokens fed."""
    tokens_per_second: float | None = None
    """Median over its steps."""
    memory_gib: float | None = None
    """Peak."""
    seconds: float | None = None
    curves: Curves = Curves()
    checks: Sequence[CheckRow] = ()
    files: Sequence[FileRow] = ()
    details: Mapping[str, object] = field(default_factory=dict)
    """Versions, digests and so on, as they shall be printed."""
    preference: Sequence[PairsRow] = ()
    """Of a model that was tuned on pairs."""


@dataclass(frozen=True)
class CandidateRow:
    """One candidate of a search: its values, and how its training came out."""

    model: str
    learning_rate: float
    rank: int
    epochs: float | None
    """None where `max_steps` ends the training."""
    measured: Sequence[Point] = ()
    """Losses by split on its way; none where it is not trained."""
    kept: Kept | None = None
    """Which of them are its adapter's."""
    lost: str = ""
    """Why it has no adapter and will have none: `diverged` (its loss became no number), `unfit`."""
    chosen: bool = False
    """The model is made of it."""

    @property
    def at_kept(self) -> Point | None:
        """The losses by which it is compared."""
        return point_of(self.measured, self.kept)


@dataclass(frozen=True)
class Period:
    """When something was done: the first and the last time, ISO 8601."""

    first: str
    last: str


@dataclass(frozen=True)
class RaterRow:
    """Who scored sessions, and what of them was read."""

    name: str
    kind: str
    """`model`, `human` or `rule`."""
    who: str
    """The model as its endpoint reports it, what an import says, or what rules count."""
    ratings: int
    reads: str
    """What of a session, in words; empty where nobody knows."""
    opened: int = 0
    """Rated sessions that began with the summary of the session before."""
    opened_read: int | None = None
    """Those of them in which the rater still read it; None where nobody knows."""


@dataclass(frozen=True)
class AskedModel:
    """A model that was asked, and how its replies were drawn."""

    name: str
    """Its role; of a therapist the arm."""
    model: str
    """As its endpoint reports it."""
    role: Role


@dataclass(frozen=True)
class ReportedCheckpoint:
    """A checkpoint: what it was made of, and what came out."""

    name: str
    tuned: bool
    recipe: Recipe
    sha256: str
    """Of the exported model; empty where there is none."""
    candidates: int = 1
    """From how many trainings it was chosen."""


@dataclass(frozen=True)
class Methods:
    """How the scores came about, as far as it is known."""

    scale: str = ""
    """What the scale is called, where no more of it is known."""
    scales: Sequence[Scale] = ()
    raters: Sequence[RaterRow] = ()
    """The headline's first."""
    patients: Sequence[SimulatedPatient] = ()
    written: Mapping[str, str] = field(default_factory=dict)
    """How patients that the generator wrote were divided, where those that are tested were."""
    sessions: Sessions | None = None
    """How sessions were held; None where they were imported."""
    speakers: Sequence[AskedModel] = ()
    trained: Sequence[ReportedCheckpoint] = ()
    imported: Sequence[str] = ()
    """What was imported, and from where."""
    held: Period | None = None
    """When sessions were held; None where nobody knows."""
    rated: Period | None = None
    code: Sequence[str] = ()
    """Versions of cbt-ray that made the units."""
    llama_cpp: Sequence[str] = ()
    """Versions and builds of the llama.cpp that answered in process."""


@dataclass(frozen=True)
class Provenance:
    """What made the numbers."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Program or library -> its version when the scores were analysed."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Prompt -> content hash."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Role or arm -> model id as the endpoint reported it."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Artefact -> digest."""
    study_file: str = ""
    """Text of the study file."""


@dataclass(frozen=True)
class ReportData:
    """Everything that a report prints."""

    study: str
    seed: int | None
    """Of what was drawn to make the sessions; None where a table of ratings was analysed."""
    analysis: Analysis
    """The result of `analyse`; every figure and table about scores is drawn from it and from
    nothing else."""
    description: str = ""
    notices: Sequence[Notice] = ()
    """Doubts that the scores alone do not show."""
    sessions: Sequence[ReportedSession] = ()
    stages: Sequence[StageRow] = ()
    costs: Sequence[CostRow] = ()
    training: Sequence[TrainingRow] = ()
    candidates: Sequence[CandidateRow] = ()
    """Of searches, each model's one after the other, in the order of the study file."""
    methods: Methods = Methods()
    provenance: Provenance = Provenance()

"""What a project is set to: one frozen dataclass per section of project.toml. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toughcall.records import NONE
from toughcall.schema import Dimension, Tiers


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the user's files hold what; "" = there is none."""

    text: str = "text"
    text_b: str = ""
    id: str = ""
    id_b: str = ""
    label: str = ""
    group: str = ""
    subject: str = ""
    """A column with one span of a relation ({start, end, type, text}), or the start of such columns' names."""
    object: str = ""
    scores: str = "scores"
    """The column that holds all numbers of a row together; without it each dimension has its own column."""
    none: str = NONE
    """What a label cell says when somebody looked and no label applies; an empty cell is unanswered."""
    block: tuple[str, ...] = ()
    """Columns whose values two records must share to be paired."""
    time: str = ""
    """The column that says when; `mine.window` holds how many days two records of a pair may lie apart."""
    encoding: str = "utf-8"
    separator: str = "|"
    long: int = 1_000_000
    """Texts above this many bytes are flagged; above 20 times as many they are set aside."""


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """The sentence encoder: `minilm` (packaged), a local folder, or a hub name."""

    name: str = "minilm"
    device: str = "auto"
    batch: int = 64
    cache: str = ""
    """Where embeddings are kept; "" = the project's own folder `vectors`."""


@dataclass(frozen=True, slots=True)
class MineSettings:
    """How a batch is mixed. Quotas are shares and need not sum to one."""

    batch: int = 50
    low: float = 0.4
    high: float = 0.6
    quotas: Mapping[str, float] = field(default_factory=dict)
    """By reason; none given = the kind's own."""
    per_record: int = 3
    near_duplicate: float = 0.97
    candidates: int = 200_000
    """How many pairs of records are scored at most; 0 = only pairs that were imported ready-made."""
    window: float = 0.0
    """Days that two records of a pair may lie apart, where data.time names a column; 0 = no limit."""


@dataclass(frozen=True, slots=True)
class StudioSettings:
    """Label Studio: an empty url means the local server that `toughcall studio up` starts."""

    url: str = ""
    port: int = 0
    overlap: int = 1
    """So many people answer each item."""
    experts: tuple[str, ...] = ()
    """E-mail addresses: each expert gets a project of their own there, and items are assigned by us."""
    adjudicator: str = ""
    """Who decides what experts disagree on; "" = whoever opens that project."""
    blind: bool = True
    """Whether tasks say nothing of what a model thinks."""
    gold: float = 0.0
    """The share of each batch that is asked to check on who answers: items whose answer is known."""
    relabel: float = 0.1
    """The share of a batch that may go to asking a second person, where that is worth more than a new item."""
    title: str = ""
    folder: str = ""
    """Where the local server keeps its data; "" = the project's own folder `studio`."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a model must show before it ships."""

    confidence: float = 0.95
    min_gain: float = 0.0
    min_items: int = 50
    test_share: float = 0.2
    floors: Mapping[str, float] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    """Lines such as "macro F1 >= 0.75", written down before training; edits are told."""
    spend: bool = False
    """Whether the intervals grow with every model that the sealed test set judges."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a model is made of labels; all but `recipe` and `budget` is for recipes that train the encoder further."""

    recipe: str = "head"
    """A name in `model.recipes.RECIPES`, or "auto": train what fits the budget, take what pays."""
    budget: float = 10.0
    """Minutes that "auto" may spend on such recipes."""
    epochs: int = 8
    rate: float = 0.0
    """The learning rate; 0 = the recipe's own."""
    patience: int = 3
    """Epochs without a better figure before training stops."""
    resample: bool = False
    """Draw rows with rare labels more often."""
    weights: str = "none"
    """"balanced" = the rare side counts as much as the other one."""
    focal: float = 0.0
    smoothing: float = 0.0
    adjust: float = 0.0
    """Logit adjustment, 0 = off, 1 = by the whole prior."""
    given: Mapping[str, float] = field(default_factory=dict)
    """Weights set by hand, by label; they are held against the counts."""


@dataclass(frozen=True, slots=True)
class Project:
    """One project folder and everything its project.toml says."""

    root: Path
    name: str
    kind: str
    labels: tuple[str, ...]
    hints: tuple[str, ...]
    guideline: str = ""
    seed: int = 0
    dimensions: tuple[Dimension, ...] = ()
    null: str = ""
    types: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    coarse: tuple[str, ...] = ()
    tiers: Tiers = field(default_factory=Tiers)
    seeds: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """For some labels phrases such as an example might hold: where to look before one is found."""
    patterns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """For some labels regular expressions (RE2, case-insensitive) that examples may match."""
    data: Columns = field(default_factory=Columns)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    mine: MineSettings = field(default_factory=MineSettings)
    studio: StudioSettings = field(default_factory=StudioSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    train: TrainSettings = field(default_factory=TrainSettings)

    @property
    def ledger(self) -> Path:
        """The SQLite file with every event."""
        return self.root / "ledger.sqlite"

    @property
    def pool(self) -> Path:
        """The folder of Parquet shards."""
        return self.root / "pool"

    @property
    def vectors(self) -> Path:
        """The folder of cached embeddings."""
        return (self.root / (self.encoder.cache or "vectors")).resolve()

    @property
    def models(self) -> Path:
        """The registry's folder."""
        return self.root / "models"

    @property
    def server(self) -> Path:
        """The folder of the local Label Studio, which several projects may share."""
        return (self.root / (self.studio.folder or "studio")).resolve()

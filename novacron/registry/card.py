"""The model card: what a model was made from, how well it does, and what it is for."""

from typing import Annotated, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    StringConstraints,
    model_validator,
)

from novacron.registry.bundle_files import BundleFile

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class CardMetric(BaseModel):
    """One measured number with its interval, as benchmark results write it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    set: Text
    """What it was measured on: a data set, never "all" of several."""
    value: FiniteFloat
    lo: FiniteFloat | None = None
    hi: FiniteFloat | None = None
    """Ends of the 95 % interval; both or neither."""
    n: int = Field(ge=1)
    """Independent units behind the interval: traces, runs, requests; not rows."""
    baseline: Text
    """What the value is a ratio to, or stands beside."""

    @model_validator(mode="after")
    def _interval_is_whole(self) -> Self:
        if (self.lo is None) != (self.hi is None):
            raise ValueError(f"{self.name}: an interval needs both ends")
        if self.lo is not None and self.hi is not None and self.lo > self.hi:
            raise ValueError(f"{self.name}: lo exceeds hi")
        return self


class ModelCard(BaseModel):
    """Everything a reader or a gate needs to judge one version of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ModelName
    kind: Text
    """Bundle kind, as in `novacron.models.bundles.LOADERS`."""
    created_at: AwareDatetime
    data_sha256: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """Digest of the input files, or `generated:<seed>`."""
    data_source: Text
    """In words: `real traces`, or `generator seed 7`."""
    code_version: Text
    """Git commit, see `novacron.registry.lineage.read_code_version`."""
    config: dict[str, JsonValue]
    seeds: tuple[int, ...]
    metrics: tuple[CardMetric, ...]
    features_hash: Text
    """Fingerprint of the feature spec the model was fitted on."""
    versions: dict[str, str]
    """Library name -> version at training time."""
    intended_use: Text
    limits: tuple[Text, ...] = Field(min_length=1)
    """What the model must not be used for, or is known to do badly."""
    files: tuple[BundleFile, ...] = ()
    """Every file of the bundle with its digest; filled in by `ModelStore.register`."""

    @model_validator(mode="after")
    def _each_metric_once(self) -> Self:
        seen = [(metric.name, metric.set) for metric in self.metrics]
        if len(set(seen)) != len(seen):
            raise ValueError("a metric is listed twice for the same set")
        return self

    def metric(self, name: str, set_name: str) -> CardMetric | None:
        """Return one metric, or None where the card does not have it."""
        for metric in self.metrics:
            if (metric.name, metric.set) == (name, set_name):
                return metric
        return None


def render_markdown(card: ModelCard) -> str:
    """Render a card as the page that people read."""
    lines = [f"# {card.name}", "", card.intended_use, "", "## Limits", ""]
    lines += [f"- {limit}" for limit in card.limits]
    lines += ["", "## Measured", "", *_metric_table(card)]
    lines += [
        "",
        "## Made from",
        "",
        f"- data: {card.data_source}, `{card.data_sha256}`",
        f"- code: `{card.code_version}`",
        f"- features: `{card.features_hash}`",
        f"- seeds: {', '.join(map(str, card.seeds)) or 'none'}",
        f"- trained: {card.created_at.isoformat(timespec='seconds')}",
        f"- libraries: {', '.join(f'{key} {value}' for key, value in card.versions.items())}",
    ]
    lines += [f"- setting {key}: `{value}`" for key, value in card.config.items()]
    if card.files:
        lines += ["", "## Files", "", "| file | bytes | sha256 |", "|---|---|---|"]
        lines += [f"| {file.path} | {file.size_bytes} | `{file.sha256}` |" for file in card.files]
    return "\n".join(lines) + "\n"


def _metric_table(card: ModelCard) -> list[str]:
    if not card.metrics:
        return ["Nothing was measured."]
    rows = ["| metric | set | value | 95 % interval | n | beside |", "|---|---|---|---|---|---|"]
    for metric in card.metrics:
        interval = "none" if metric.lo is None else f"{metric.lo:.4g} .. {metric.hi:.4g}"
        rows.append(
            f"| {metric.name} | {metric.set} | {metric.value:.4g} | {interval} "
            f"| {metric.n} | {metric.baseline} |"
        )
    return rows

"""What the registry hands out: versions, loaded models and the promotion history."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from novacron.errors import ArtifactError, InvalidInputError
from novacron.models.base import ServableModel
from novacron.registry.card import ModelCard
from novacron.registry.gate import GateDecision

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
PREVIOUS: Final = "previous"
ALIASES: Final = (CHAMPION, CHALLENGER, PREVIOUS)

TAG_LIMIT: Final = 5000
"""Longest tag of a registered name that a PostgreSQL registry takes, in characters."""
CARD_TAG: Final = "novacron.card"
DIGEST_TAG: Final = "novacron.bundle_sha256"
MODEL_ID_TAG: Final = "novacron.model_id"


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionRecord:
    """One registered version."""

    name: str
    version: str
    aliases: tuple[str, ...]
    run_id: str
    """Run that trained or registered it."""
    created_at: datetime
    tags: Mapping[str, str]

    @property
    def bundle_sha256(self) -> str:
        """One digest over all files of the bundle."""
        return self.tags.get(DIGEST_TAG, "")

    @property
    def model_id(self) -> str:
        """Id under which the files are stored."""
        return self.tags.get(MODEL_ID_TAG, "")

    @property
    def is_foreign(self) -> bool:
        """Whether it was registered by MLflow itself, without a card of this project."""
        return CARD_TAG not in self.tags

    def card(self) -> ModelCard:
        """Read the card.

        Raises:
            ArtifactError: It is missing or unreadable.
        """
        try:
            return ModelCard.model_validate_json(self.tags.get(CARD_TAG, ""))
        except ValidationError as cause:
            raise ArtifactError(
                f"{self.name} version {self.version} has no readable card.",
                remedy="It was not registered by this project; register it again.",
            ) from cause


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A model read back from the registry, its files checked against its card."""

    model: ServableModel
    name: str
    version: str
    card: ModelCard


class ChampionChange(BaseModel):
    """One entry of a model's promotion history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: int
    action: Literal["promote", "rollback"]
    version: str
    previous: str
    """Champion before the change; empty when there was none."""
    who: str
    at: AwareDatetime
    why: str
    forced: bool = False
    """Whether it overrode a refusal of the gate."""
    reasons: tuple[str, ...] = ()
    """What the gate had said against it, when forced."""
    notes: tuple[str, ...] = ()
    state: Literal["begun", "done", "abandoned"] = "begun"

    def gated(self, decision: GateDecision) -> Self:
        """Write down what the gate had said."""
        said = {"reasons": decision.reasons, "notes": decision.notes}
        return self.model_copy(update=said | {"forced": not decision.passed})

    def to_tag(self) -> str:
        """Return the entry as JSON; where it is too long, the last reasons give way to a count."""
        kept, change = len(self.reasons), self
        while len(text := change.model_dump_json()) > TAG_LIMIT and kept > 0:
            kept -= 1
            reasons = (*self.reasons[:kept], f"and {len(self.reasons) - kept} more")
            change = self.model_copy(update={"reasons": reasons})
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Who changes the champion, when and why; given by the edge and kept for good."""

    who: str
    at: datetime
    why: str = ""

    def __post_init__(self) -> None:
        """Refuse texts that would not fit into the history.

        Raises:
            InvalidInputError: `who` is empty or too long, or `why` is too long.
        """
        if not 0 < len(self.who) <= 100:
            raise InvalidInputError(field="who", got=self.who, expected="1 to 100 characters")
        if len(self.why) > 500:
            raise InvalidInputError(field="why", got=self.why, expected="at most 500 characters")

    def change(
        self, action: Literal["promote", "rollback"], version: str, *, previous: str
    ) -> ChampionChange:
        """Write down a change of champion that is about to be made."""
        return ChampionChange(
            sequence=0,
            action=action,
            version=version,
            previous=previous,
            who=self.who,
            at=self.at,
            why=self.why,
        )

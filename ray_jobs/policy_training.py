"""One policy from nothing to a registered version, in steps that a killed run does not repeat."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from matplotlib.figure import Figure

from novacron.errors import ModelNotFoundError
from novacron.models.policy.bundle import load_part
from novacron.models.policy.model import OptimizerModel
from novacron.models.policy.optimizer import shipped_model
from novacron.models.policy.part import PartCard, TargetPart
from novacron.registry.card import CardMetric, ModelCard
from novacron.registry.lineage import library_versions
from novacron.registry.records import CHALLENGER, CHAMPION
from novacron.registry.store import ModelStore
from ray_jobs.locations import registry_config, runs_dir
from ray_jobs.policy_config import PolicyTrainConfig, policy_config, world_sha256
from ray_jobs.policy_judging import PolicyFigures, judge_part
from ray_jobs.policy_rllib import CurvePoint, read_curve, train_by_loop, train_network
from ray_jobs.run_folder import RunFolder, code_version
from rl_envs.learn.assemble import Origin, assemble_part

log = logging.getLogger(__name__)

MODEL: Final = "optimizer"
"""Name under which the policies of all targets are registered together."""
TRAINERS: Final = {"rllib": "RLlib PPO", "loop": "own PPO loop"}
"""What a card calls each trainer."""
_LIBRARIES: Final = ("numpy", "ray", "torch", "onnx", "onnxruntime", "gymnasium")
_LOGGED_EVERY: Final = 4
_PART_CARD: Final = "part"

PointListener = Callable[[CurvePoint, int], None]
"""Gets each point of the learning curve and the number of steps aimed at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyRequest:
    """Which policy to train, and where to keep it."""

    target: str
    config_path: Path | None = None
    run_dir: Path | None = None
    """None: named after the inputs, below the runs folder."""
    trainer: Literal["rllib", "loop"] = "rllib"
    """`loop` is this project's own PPO: no Ray, a fraction of the processor time, no resuming."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedPolicy:
    """A finished training: the part, its figures, and the outcome as JSON-able values."""

    part: TargetPart
    figures: PolicyFigures
    config: PolicyTrainConfig
    folder: RunFolder
    run_id: str


def policy_key(target: str, config: PolicyTrainConfig, world: str) -> str:
    """Return a short digest of all that decides what a training produces."""
    text = "\0".join((target, config.model_dump_json(), world))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def policy_dir(target: str, key: str) -> Path:
    """Return the folder of a training, named after its inputs."""
    return runs_dir() / "policy" / f"{target}-{key}"


def train_policy(request: PolicyRequest, on_point: PointListener) -> TrainedPolicy:
    """Train, assemble and judge a policy; go on where a killed run stopped.

    Raises:
        NovacronError: The config is wrong, or the registry does not answer.
    """
    config = policy_config(request.target, request.config_path)
    world = world_sha256()
    key = policy_key(request.target, config, world)
    key = key if request.trainer == "rllib" else f"{key}-{request.trainer}"
    folder = RunFolder(path=request.run_dir or policy_dir(request.target, key))
    store = ModelStore.connect(registry_config())
    begun = folder.read("run") or {}
    known = begun.get("run_id", "") if begun.get("key") == key else ""
    params = json.loads(config.model_dump_json()) | {"target": request.target, "world": world}
    with store.run(
        f"train policy {request.target}",
        params=params,
        run_id=store.known_run(known),
    ) as run:
        folder.write("run", {"key": key, "run_id": run.run_id, "target": request.target})
        count = 0

        def listen(point: CurvePoint) -> None:
            nonlocal count
            count += 1
            on_point(point, config.ppo.env_steps)
            if count % _LOGGED_EVERY == 0 and point.gain_nats == point.gain_nats:
                run.log_metrics(
                    {"gain_nats": point.gain_nats, "log_std": point.log_std, "cpu_s": point.cpu_s},
                    step=point.env_steps,
                )

        learn = train_network if request.trainer == "rllib" else train_by_loop
        network = learn(request.target, config, folder.checkpoints, listen)
        curve = read_curve(folder.checkpoints)
        origin = Origin(
            version=f"{request.target}-{key}",
            trainer=TRAINERS[request.trainer],
            seed=config.ppo.seed,
            env_steps=curve[-1].env_steps if curve else config.ppo.env_steps,
            frames=config.ppo.frames,
        )
        part = _assembled(request.target, network, config, origin, folder)
        figures = judge_part(part, config, cache=runs_dir() / "policy" / "oracles", world=world)
        run.log_metrics({name: each.value for name, each in figures.for_card().items()})
        picture = folder.path / "learning_curve.png"
        draw_curve(curve, request.target, picture)
        run.log_figure(picture)
        run_id = run.run_id
    part.card = part.card.model_copy(update={"figures": figures.for_manifest()})
    folder.write(_PART_CARD, part.card.model_dump(mode="json"))
    return TrainedPolicy(part=part, figures=figures, config=config, folder=folder, run_id=run_id)


def _assembled(
    target: str, network: Any, config: PolicyTrainConfig, origin: Origin, folder: RunFolder
) -> TargetPart:
    """Assemble the part, or open the one that an earlier run of the folder has finished."""
    files = folder.path / "part"
    finished = folder.read(_PART_CARD)
    if finished is not None:
        return load_part(files, PartCard.model_validate(finished))
    part, _ = assemble_part(target, network, config.effects, origin, files)
    folder.write(_PART_CARD, part.card.model_dump(mode="json"))
    return part


def register_policy(trained: TrainedPolicy, store: ModelStore) -> dict[str, Any]:
    """Register a version of the optimizer with the new part among the latest one's others."""
    base = latest_version(store)
    model = joined(trained, base)
    bundle = trained.folder.path / f"bundle-{int(time.monotonic() * 1e6)}"
    model.save(bundle)
    record = store.register(
        MODEL,
        bundle,
        policy_card(trained, base),
        (trained.folder.path / "learning_curve.png",),
        run_id=trained.run_id,
    )
    return {"model": MODEL, "version": record.version, "run_id": trained.run_id}


@dataclass(frozen=True, kw_only=True, slots=True)
class Latest:
    """What a new policy joins: the policies of a version, or those that come with the library."""

    model: OptimizerModel
    version: str = ""
    """Empty: no version is registered yet."""


def latest_version(store: ModelStore) -> Latest:
    """Return the challenger of the optimizer, else its champion, else what comes with the library."""
    for ref in (CHALLENGER, CHAMPION):
        try:
            found = store.load(MODEL, ref)
        except ModelNotFoundError:
            continue
        if isinstance(found.model, OptimizerModel):
            return Latest(version=found.version, model=found.model)
    return Latest(model=shipped_model())


def joined(trained: TrainedPolicy, base: Latest) -> OptimizerModel:
    """Return the policies of a version with the new one in the place of its target's."""
    return OptimizerModel({**base.model.parts, trained.part.card.target: trained.part})


def policy_card(trained: TrainedPolicy, base: Latest) -> ModelCard:
    """Describe the version: this part's figures, and those of the parts it keeps."""
    target, model = trained.part.card.target, joined(trained, base)
    metrics = [
        CardMetric(
            name=name, set=each, value=one.value, lo=one.lo, hi=one.hi, n=one.n,
            baseline=baseline_of(name),
        )
        for each, part in model.parts.items()
        for name, one in part.card.figures.items()
    ]  # fmt: skip
    kept = ", ".join(sorted(set(model.parts) - {target}))
    kept_from = f"version {base.version}" if base.version else "the library"
    config: Mapping[str, Any] = json.loads(trained.config.model_dump_json())
    return ModelCard(
        name=MODEL,
        kind=model.kind,
        created_at=datetime.now(UTC),
        data_sha256=f"simulator:{world_sha256()}",
        data_source=f"simulated WAN; this version trained {target} with {trained.part.card.trainer}"
        + (f"; {kept} from {kept_from}" if kept else ""),
        code_version=code_version(),
        config={target: config},
        seeds=(trained.config.ppo.seed,),
        metrics=tuple(metrics),
        features_hash=model.features_hash,
        versions=library_versions(_LIBRARIES),
        intended_use=(
            "Advises DWCP's knobs from telemetry of the sending side, behind a guard with canaries."
        ),
        limits=(
            "Keeps the cost of a gigabyte within 10 % of the defaults' in the mean of a decision, not "
            "in every interval.",
            "Trained and judged in a simulator: every figure is simulated until a canary says so.",
            "Knows paths up to a round trip of 260 ms and a loss of 3 %; beyond, it returns the "
            "defaults.",
            "Without canaries only a sure gain is applied, which is rarer.",
        ),
    )


def baseline_of(metric: str) -> str:
    """Name what a figure stands beside."""
    if metric.startswith("improvement_over_"):
        name = metric.removeprefix("improvement_over_").removesuffix("_ratio")
        return name.replace("_", " ")
    return "oracle that knows the hidden state" if "oracle" in metric else "shipped defaults"


def draw_curve(curve: list[CurvePoint], target: str, path: Path) -> None:
    """Draw the gain a decision over the interactions learnt from."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([each.env_steps for each in curve], [each.gain_nats for each in curve])
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    axes.set_xlabel("environment steps")
    axes.set_ylabel("gain over the shipped defaults, nats a decision")
    axes.set_title(f"{target}: training, exploring actions (simulated)")
    figure.savefig(path, dpi=110)

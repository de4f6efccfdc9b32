from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tiny_placement import node, tiny_models, workload

import novacron
from novacron.errors import (
    ArtifactError,
    FeatureMismatchError,
    NotFoundError,
    NotReadyError,
    OutOfRangeError,
    SchemaError,
)
from novacron.models.placement import bundle_files
from novacron.models.placement.bundle_files import load_models, save_models
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.model import PlacementModel
from novacron.models.placement.optimizer import WorkloadOptimizer
from novacron.models.placement.workload import read_workload

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODES = [node(number) for number in range(12)]


def optimizer(strategy="balanced", **changes):
    models = tiny_models()
    config = models.config.model_copy(update={"strategy": strategy} | changes)
    fields = {name: getattr(models, name) for name in models.__dataclass_fields__}
    made = type(models)(**(fields | {"config": config}))
    return WorkloadOptimizer(made, version="3", clock=lambda: NOW)


def test_the_documented_class_is_importable_and_says_that_it_must_be_trained():
    with pytest.raises(NotReadyError, match="fit"):
        novacron.WorkloadOptimizer().optimize(workload(), NODES)


def test_an_answer_says_where_why_and_how_sure():
    answer = optimizer().optimize(workload(max_latency_ms=12), NODES)

    assert [one.rank for one in answer.candidates] == [1, 2, 3]
    scores = [one.score.value for one in answer.candidates]
    assert scores == sorted(scores, reverse=True)
    best = answer.best
    assert set(best.estimates) == {
        "throughput", "latency", "reliability", "resource_efficiency", "power"
    }  # fmt: skip
    for estimate in (best.score, *best.estimates.values()):
        assert estimate.lower <= estimate.value <= estimate.upper
        assert estimate.coverage == 0.9
    assert {"cpu", "memory", "latency"} == set(best.constraints_satisfied)
    assert 0 < best.utilization["cpu_cores"] <= 1
    assert best.utilization["gpus"] is None
    assert (answer.nodes, answer.feasible, answer.scored) == (12, 8, 8)
    assert (answer.model_name, answer.model_version) == ("placement", "3")
    assert (answer.made_at, answer.valid_until) == (NOW, NOW + timedelta(seconds=60))
    assert answer.horizon_s > 0
    assert len(answer.features_hash) == 64
    assert answer.decided_by == "score"


def test_the_reasons_of_every_candidate_add_up_to_its_score():
    for asked in (workload(), workload(cpu_cores=1, latency_sensitivity=0.5, max_cost_per_hour=2)):
        for one in optimizer().optimize(asked, NODES).candidates:
            told = one.base + sum(each.contribution for each in one.reasons)
            assert told + one.other_factors + one.soft == pytest.approx(one.score.value, abs=1e-9)


def test_ranking_alone_gives_the_order_of_the_answer():
    made = optimizer()

    answer = made.optimize(workload(max_latency_ms=12), NODES)

    ranked = made.rank(workload(max_latency_ms=12), NODES)
    assert ranked[:3] == tuple(one.node_id for one in answer.candidates)
    assert len(ranked) == answer.scored
    assert made.rank(workload(cpu_cores=500), NODES) == ()


def test_reasons_are_those_of_the_node_and_not_of_the_fleet():
    candidates = optimizer().optimize(workload(), NODES).candidates

    told = [tuple(each.contribution for each in one.reasons) for one in candidates]
    assert len(set(told)) == len(told)


def test_a_workload_that_fits_nowhere_gets_no_candidate_and_the_reason():
    answer = optimizer().optimize(workload(cpu_cores=500), NODES)

    assert answer.candidates == ()
    assert answer.best is None
    assert "cpu fails on 12" in answer.none_feasible_because
    assert answer.decided_by == "nothing"


def test_consolidation_without_known_lifetimes_is_best_fit_and_says_so():
    answer = optimizer("consolidate").optimize(workload(), NODES)

    # Node 0 has the least left over.
    assert answer.best.node_id == "n0"
    assert (answer.decided_by, answer.fallback) == ("best_fit", "best_fit")


def test_a_cluster_whose_lifetimes_are_followed_packs_by_them():
    made = optimizer("consolidate")
    fleet = Fleet.read([node(n, cpu_cores_available=48.0) for n in range(3)])
    state = made.follow(fleet)
    for number in range(6):
        held = read_workload(
            workload(workload_id=f"long{number}", memory_gb=14, batch_size=1, batch_same_size=1)
        )
        state.place(held, "n0" if number < 3 else "n1", at_s=60.0 * number)

    answer = made.optimize(
        workload(cpu_cores=2, memory_gb=3.5, batch_size=4, batch_same_size=4), state, at_s=900.0
    )

    assert answer.decided_by in ("lifetime", "best_fit")
    assert (answer.fallback == "") == (answer.decided_by == "lifetime")
    assert all(one.extension_s >= 0 for one in answer.candidates)
    # A node in use is tried before one that would have to be woken.
    assert answer.best.node_id != "n2"
    assert answer.candidates[-1].node_id == "n2"


def test_a_cluster_forgets_who_ended_and_refuses_who_is_not_there():
    made = optimizer("consolidate")
    state = made.follow(Fleet.read([node(0)]))
    state.place(read_workload(workload()), "n0", at_s=0.0)
    state.end("w", at_s=50.0)

    assert state.fleet.count_H[0] == 0
    assert (state.look(60.0).log_empty_HG == 0).all()
    with pytest.raises(NotFoundError):
        state.end("w", at_s=70.0)
    with pytest.raises(NotFoundError):
        state.place(read_workload(workload()), "elsewhere", at_s=70.0)
    with pytest.raises(OutOfRangeError, match="before"):
        state.place(read_workload(workload()), "n0", at_s=10.0)
    with pytest.raises(OutOfRangeError, match="at_s"):
        made.optimize(workload(), state)


def test_above_the_limit_the_first_pass_keeps_tight_and_idle_nodes():
    nodes = [node(n, cpu_cores_available=5.0 + n, current_load=n / 100) for n in range(30)]

    answer = optimizer(scored=4).optimize(workload(), nodes)

    assert (answer.feasible, answer.scored) == (30, 4)
    assert {one.node_id for one in answer.candidates} <= {"n0", "n1", "n2", "n3"}


def test_the_weights_decide_which_node_is_best():
    models = tiny_models()
    first = {}
    for name in ("performance", "resource", "power"):
        weights = dict.fromkeys(("performance", "resource", "power", "soft"), 0.0) | {name: 1.0}
        config = type(models.config.weights)(**weights)
        answer = optimizer(weights=config).optimize(workload(), NODES)
        first[name] = answer.candidates[0].score.value

    assert len(set(first.values())) == 3


def test_an_absent_factor_is_told_as_absent_in_the_reasons():
    sparse = [{k: v for k, v in one.items() if k != "network_latency"} for one in NODES]

    answer = optimizer().optimize(workload(), sparse)

    told = [each for one in answer.candidates for each in one.reasons]
    assert any(each.value is None for each in told)


def test_a_saved_optimizer_answers_the_same(tmp_path):
    save_models(tiny_models(), tmp_path)

    loaded = WorkloadOptimizer(load_models(tmp_path), version="3", clock=lambda: NOW)

    asked = workload(max_latency_ms=12)
    assert loaded.optimize(asked, NODES) == optimizer().optimize(asked, NODES)
    assert load_models(tmp_path).gate == tiny_models().gate
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".txt"}


def test_a_changed_bundle_is_refused(tmp_path, monkeypatch):
    save_models(tiny_models(), tmp_path)
    (tmp_path / "power.txt").write_text("tree\n")

    with pytest.raises(ArtifactError, match=r"power\.txt"):
        load_models(tmp_path)


def test_a_bundle_of_other_factors_is_refused(tmp_path, monkeypatch):
    save_models(tiny_models(), tmp_path)
    monkeypatch.setattr(bundle_files, "placement_fingerprint", lambda: "f" * 64)

    with pytest.raises(FeatureMismatchError):
        load_models(tmp_path)


def test_one_wrong_text_is_refused_by_its_place():
    model = PlacementModel(tiny_models())
    good = np.array(['{"workload_id": "w", "cpu_cores": 1, "memory_gb": 1}'] * 2, dtype=object)
    nodes = np.array(["[]", "[3]"], dtype=object)

    with pytest.raises(SchemaError, match="nodes"):
        model.prepare({"workload": good, "nodes": nodes})

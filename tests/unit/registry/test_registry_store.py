import subprocess
import sys
from datetime import timedelta

import doubling_model
import numpy as np
import pytest

from novacron.errors import (
    ArtifactError,
    ConfigError,
    FeatureMismatchError,
    GateRefusedError,
    InvalidInputError,
    ModelNotFoundError,
)
from novacron.models.bundles import LOADERS
from novacron.registry.gate import GateRules, MetricRule
from novacron.registry.records import CARD_TAG, Audit
from novacron.registry.store import ModelStore

RULES = GateRules(required=(MetricRule(name="wape_ratio_to_ewma", set="oboe", limit=1.0),))
BAD = (doubling_model.metric(value=1.2),)


def audit(minutes=0, why=""):
    return Audit(who="ops", at=doubling_model.CREATED_AT + timedelta(minutes=minutes), why=why)


def stored_bundle(config):
    """The folder in the artifact store that holds the newest bundle."""
    root = config.root / "artifacts"
    return max(root.rglob("data/bundle"), key=lambda path: path.stat().st_mtime_ns)


def test_a_registered_model_is_the_challenger_and_answers_as_before(store, register):
    register(factor=3.0)

    loaded = store.load("bandwidth", "challenger")

    rows = loaded.model.prepare({"bandwidth_mbps": np.array([[1.0, 2.0]])})
    assert loaded.model.predict(rows)["value_mbps"].tolist() == [[3.0, 6.0]]
    assert (loaded.name, loaded.version) == ("bandwidth", "1")


def test_the_stored_card_is_the_given_one_with_the_digest_of_every_file(store, register):
    register()

    card = store.card("bandwidth", "1")

    assert card.model_copy(update={"files": ()}) == doubling_model.card()
    assert [file.path for file in card.files] == ["bundle.json", "weights/factor.json"]


def test_versions_are_listed_oldest_first_with_their_aliases(store, register):
    for factor in (1.0, 2.0):
        register(factor=factor)

    assert [(row.version, row.aliases) for row in store.versions("bandwidth")] == [
        ("1", ()),
        ("2", ("challenger",)),
    ]


def test_more_than_nine_versions_stay_in_order(store, register):
    for factor in range(11):
        register(factor=float(factor))

    assert [row.version for row in store.versions("bandwidth")] == [
        str(number) for number in range(1, 12)
    ]


def test_registering_the_same_bundle_of_a_run_again_gives_the_same_version(store, register):
    with store.run("train") as run:
        pass

    versions = {register(run_id=run.run_id).version for _ in range(2)}

    assert versions == {"1"}


def test_two_bundles_of_one_run_are_two_versions(store, register):
    with store.run("train") as run:
        pass

    versions = [register(factor=factor, run_id=run.run_id).version for factor in (1.0, 2.0)]

    assert versions == ["1", "2"]


def test_a_byte_flipped_in_the_store_is_refused(store, register, config):
    register()
    path = stored_bundle(config) / "weights" / "factor.json"
    path.write_text("9.0")

    with pytest.raises(ArtifactError, match=r"weights/factor\.json: got sha256"):
        store.load("bandwidth", "1")


def test_a_file_that_grew_in_the_store_is_refused_before_it_is_read(store, register, config):
    register()
    (stored_bundle(config) / "bundle.json").write_text('{"kind": "doubling"}' + " " * 1000)

    with pytest.raises(ArtifactError, match="bytes, expected"):
        store.load("bandwidth", "1")


def test_a_file_added_in_the_store_is_refused(store, register, config):
    register()
    (stored_bundle(config) / "weights" / "extra.json").write_text("{}")

    with pytest.raises(ArtifactError, match=r"added \['weights/extra\.json'\]"):
        store.load("bandwidth", "1")


def test_a_file_missing_in_the_store_is_refused(store, register, config):
    register()
    (stored_bundle(config) / "weights" / "factor.json").unlink()

    with pytest.raises(ArtifactError, match=r"missing \['weights/factor\.json'\]"):
        store.load("bandwidth", "1")


def test_a_card_whose_paths_lead_outside_is_refused(store, register):
    record = register()
    forged = record.tags[CARD_TAG].replace("weights/factor.json", "../../factor.json")
    store._backend._client.set_model_version_tag("bandwidth", "1", CARD_TAG, forged)

    with pytest.raises(ArtifactError, match="no readable card"):
        store.load("bandwidth", "1")


def test_a_version_made_by_others_is_refused_by_name(store, register):
    register()
    client = store._backend._client
    client.create_model_version("bandwidth", "file:///nowhere", None)

    with pytest.raises(ArtifactError, match="version 2 has no readable card"):
        store.load("bandwidth", "2")


def test_a_bundle_with_a_pickle_is_not_registered(store, tmp_path):
    bundle_dir = doubling_model.write_bundle(tmp_path / "bundle")
    (bundle_dir / "weights.txt").write_bytes(b"\x80\x04K\x01.")

    with pytest.raises(ArtifactError, match="pickle"):
        store.register("bandwidth", bundle_dir, doubling_model.card())

    assert store.models() == ()


def test_a_card_of_other_features_than_the_bundle_is_refused(store, register):
    with pytest.raises(FeatureMismatchError, match="fitted on features"):
        register(features_hash="0" * 16)


def test_a_card_of_another_kind_than_the_bundle_is_refused(store, register):
    with pytest.raises(ArtifactError, match="its card says anomaly"):
        register(kind="anomaly")


def test_a_bundle_whose_kind_this_code_does_not_know_is_refused(store, register, monkeypatch):
    register()
    monkeypatch.delitem(LOADERS, "doubling")

    with pytest.raises(ArtifactError, match="kind 'doubling' is unknown"):
        store.load("bandwidth", "1")


@pytest.mark.parametrize("name", ["", "../up", "Bandwidth", "a/b", "a:b", "a" * 64, "a' OR '1"])
def test_a_name_that_is_no_plain_word_is_refused(store, tmp_path, name):
    bundle_dir = doubling_model.write_bundle(tmp_path / "bundle")

    with pytest.raises(InvalidInputError, match="name"):
        store.register(name, bundle_dir, doubling_model.card())
    with pytest.raises(ModelNotFoundError):
        store.load(name)


def test_an_unknown_model_names_the_nearest(store, register):
    register()

    with pytest.raises(ModelNotFoundError, match="nearest are bandwidth"):
        store.load("bandwidt")


@pytest.mark.parametrize("ref", ["champion", "7", "0", "-1", "1.0", "\u0661", "9" * 30, ""])
def test_an_unknown_version_names_those_there_are(store, register, ref):
    register()

    with pytest.raises(ModelNotFoundError, match="it has challenger, 1"):
        store.load("bandwidth", ref)


def test_a_model_the_gate_lets_through_becomes_champion(store, register):
    register()

    decision = store.promote("bandwidth", "challenger", RULES, audit=audit())

    assert decision.passed
    assert store.load("bandwidth").version == "1"


def test_a_refused_model_leaves_the_champion_and_lists_the_reasons(store, register):
    register()
    store.promote("bandwidth", "1", RULES, audit=audit())
    register(metrics=BAD)

    with pytest.raises(GateRefusedError, match=r"does not beat EWMA.*worse than the champion"):
        store.promote("bandwidth", "challenger", RULES, audit=audit(5))

    assert store.resolve("bandwidth", "champion").version == "1"


def test_a_forced_promotion_needs_a_reason(store, register):
    register(metrics=BAD)

    with pytest.raises(InvalidInputError, match="why"):
        store.promote("bandwidth", "1", RULES, audit=audit(), force=True)


def test_a_forced_promotion_keeps_its_reason_and_what_the_gate_had_said(store, register):
    register(metrics=BAD)

    store.promote("bandwidth", "1", RULES, audit=audit(why="only model we have"), force=True)

    (change,) = store.history("bandwidth")
    assert change.forced
    assert change.why == "only model we have"
    assert "does not beat EWMA" in change.reasons[0]


def test_promoting_the_champion_again_changes_nothing(store, register):
    register()
    for minutes in (0, 5):
        store.promote("bandwidth", "1", RULES, audit=audit(minutes))

    assert len(store.history("bandwidth")) == 1


def test_a_champion_scored_again_on_new_data_is_what_the_gate_compares_with(store, register):
    register(metrics=(doubling_model.metric(value=0.9),))
    store.promote("bandwidth", "1", RULES, audit=audit())
    newest = {"data_sha256": "e" * 64}
    register(metrics=(doubling_model.metric(value=0.8),), **newest)
    rescored = doubling_model.card(metrics=(doubling_model.metric(value=0.6),), **newest)

    with pytest.raises(GateRefusedError, match=r"worse than the champion's 0\.6"):
        store.promote("bandwidth", "2", RULES, audit=audit(5), champion_card=rescored)


def test_rollback_returns_to_the_champion_before_and_then_further(store, register):
    for number, factor in enumerate((1.0, 2.0, 3.0)):
        register(factor=factor)
        store.promote("bandwidth", "challenger", RULES, audit=audit(5 * number))

    factors = [store.rollback("bandwidth", audit=audit(20 + n)).model.factor for n in range(2)]

    assert factors == [2.0, 1.0]
    assert store.load("bandwidth").version == "1"


def test_there_is_nothing_to_roll_back_to_before_the_first_champion(store, register):
    register()
    store.promote("bandwidth", "1", RULES, audit=audit())

    with pytest.raises(ModelNotFoundError, match="no champion before 1"):
        store.rollback("bandwidth", audit=audit(5))


def test_a_damaged_earlier_champion_does_not_take_over(store, register, config):
    register(factor=1.0)
    store.promote("bandwidth", "1", RULES, audit=audit())
    damaged = stored_bundle(config)
    register(factor=2.0)
    store.promote("bandwidth", "2", RULES, audit=audit(5))
    (damaged / "weights" / "factor.json").write_text("9.9")

    with pytest.raises(ArtifactError):
        store.rollback("bandwidth", audit=audit(10))

    assert store.resolve("bandwidth", "champion").version == "2"


@pytest.mark.parametrize("step", ["upload_model", "fetch_bundle", "create_version", "set_alias"])
def test_a_crash_at_any_step_of_registering_leaves_the_champion_whole(
    store, register, monkeypatch, step
):
    register(factor=1.0)
    store.promote("bandwidth", "1", RULES, audit=audit())

    def crash(*args, **kwargs):
        raise OSError("the machine stops here")

    with monkeypatch.context() as patch:
        patch.setattr(store._backend, step, crash)
        with pytest.raises(OSError, match="stops here"):
            register(factor=2.0)

    assert store.load("bandwidth").model.factor == 1.0
    register(factor=3.0)
    assert store.load("bandwidth", "challenger").model.factor == 3.0


def test_a_bundle_that_does_not_arrive_whole_becomes_no_version(store, register, monkeypatch):
    upload = store._backend.upload_model

    def lose_a_file(*args):
        model_id = upload(*args)
        (stored_bundle(store.config) / "weights" / "factor.json").unlink()
        return model_id

    monkeypatch.setattr(store._backend, "upload_model", lose_a_file)

    with pytest.raises(ArtifactError, match="missing"):
        register()

    assert store.models() == ()


def test_the_state_of_all_models_is_one_json_object(store, register):
    register()
    store.promote("bandwidth", "1", RULES, audit=audit())
    register(factor=3.0)

    state = store.describe()

    model = state["models"]["bandwidth"]
    assert state["location"] == store.config.location
    assert model["aliases"] == {"champion": "1", "challenger": "2"}
    assert model["champion"]["data_source"] == "generator seed 7"
    assert model["history"][0]["who"] == "ops"


def test_an_experiment_that_keeps_its_files_elsewhere_is_refused(store, config, tmp_path):
    moved = config.model_copy(update={"artifact_uri": str(tmp_path / "elsewhere")})

    with pytest.raises(ConfigError, match="keeps its files"):
        ModelStore.connect(moved)


@pytest.mark.timeout(180)
def test_a_store_made_by_two_processes_at_once_is_whole(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from novacron.registry.config import RegistryConfig\n"
        "from novacron.registry.store import ModelStore\n"
        "print(ModelStore.connect(RegistryConfig(root=Path(sys.argv[1]))).models())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    answers = [process.communicate(timeout=150) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], answers
    assert [answer[0].strip() for answer in answers] == ["()", "()"]


def test_importing_the_store_is_quick_because_mlflow_waits_for_a_connection():
    code = "import sys, novacron.registry.store; print('mlflow' in sys.modules)"

    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "False"


def test_nothing_is_written_into_the_working_directory(register, store, tmp_path, monkeypatch):
    elsewhere = tmp_path / "working-directory"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    register()
    store.promote("bandwidth", "1", RULES, audit=audit())
    store.load("bandwidth")

    assert list(elsewhere.iterdir()) == []


def test_an_artifact_folder_beside_the_database_is_used_when_named(
    config, tmp_path, empty_database
):
    elsewhere = config.model_copy(
        update={"artifact_uri": (tmp_path / "files").as_uri(), "experiment": "other"}
    )
    store = ModelStore.connect(elsewhere)
    bundle_dir = doubling_model.write_bundle(tmp_path / "bundle")

    store.register("bandwidth", bundle_dir, doubling_model.card())

    assert list((tmp_path / "files").rglob("bundle.json"))

import json
import sys

import numpy as np
import pytest

from novacron.errors import (
    MissingDependencyError,
    NotReadyError,
    OutOfRangeError,
    SchemaError,
    UnreadableInputError,
)
from novacron.params.groups import CODECS
from rl_envs.calibrate import __main__ as calibrate
from rl_envs.calibrate.codec import coders, measure, measure_point, table_of
from rl_envs.calibrate.compare import compare
from rl_envs.calibrate.corpora import Corpus, log_bytes, process_corpora
from rl_envs.physics.codec import CodecCurves
from rl_envs.tables import CODEC_TABLE, codec_tables, parse_codec_tables

SIZES = (1024, 8192)
SOME = ("none", "lz4-1", "zstd-3")


@pytest.fixture(scope="module")
def corpora():
    rng = np.random.default_rng(0)
    text = log_bytes("json", 65_536, 1)
    changed = bytearray(text)
    for at in rng.integers(0, len(text), 200):
        changed[at] ^= 1
    return [
        Corpus(name="logs", split="train", data=text),
        Corpus(name="pages", split="test", data=bytes(changed), before=text),
        Corpus(name="random", split="ood", data=rng.bytes(65_536)),
    ]


@pytest.fixture(scope="module")
def body(corpora):
    points = measure(corpora, codecs=SOME, chunk_sizes=SIZES)
    provenance = {"command": "c", "seed": 1, "date": "d", "machine": "m", "versions": {}}
    return provenance | table_of(corpora, points, codecs=SOME, chunk_sizes=SIZES)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_of_the_ladder_gives_the_bytes_back(codec):
    compress, decompress = coders(codec)
    data = log_bytes("web", 4096, 3)

    packed = compress(data)

    assert decompress(packed) == data
    assert codec == "none" or len(packed) < len(data)


def test_missing_codec_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)

    with pytest.raises(MissingDependencyError, match=r"novacron-ml\[codecs\]"):
        coders("zstd-3")


def test_delta_of_a_page_that_changed_little_compresses_better_than_the_page(corpora):
    plain = measure_point(corpora[1], "zstd-3", 8192, delta=False)
    delta = measure_point(corpora[1], "zstd-3", 8192, delta=True)

    assert delta.ratio > 2 * plain.ratio


def test_data_without_an_earlier_version_is_measured_plain(corpora):
    plain, delta = (
        measure_point(corpora[0], "zstd-3", 8192, delta=delta) for delta in (False, True)
    )

    assert delta.ratio == plain.ratio


def test_random_bytes_do_not_compress_and_larger_chunks_help_text(corpora, body):
    curves = parse_codec_tables(body).curves

    zstd = SOME.index("zstd-3")
    assert curves.ratio_CVLS[2, 0, zstd].max() <= 1.0
    assert curves.ratio_CVLS[0, 0, zstd, 1] > curves.ratio_CVLS[0, 0, zstd, 0]


def test_statistics_of_a_corpus_are_those_telemetry_would_show(corpora):
    logs, pages, random = corpora

    assert 0.3 < logs.entropy_ratio < 0.8
    assert random.entropy_ratio == pytest.approx(1.0, abs=0.01)
    assert logs.changed_byte_ratio == 1.0
    assert pages.changed_byte_ratio == pytest.approx(200 / 65_536, rel=0.05)


def test_table_agrees_with_itself_and_choosing_by_it_costs_nothing(body):
    curves = parse_codec_tables(body).curves

    agreement = compare(curves, curves)

    assert agreement.ratio_error == 0.0
    assert agreement.speed_error == 0.0
    assert agreement.regrets.max() == 0.0


def test_wrong_table_costs_time_at_some_wire_rate(body):
    right = parse_codec_tables(body).curves
    upside_down = dict(body)
    upside_down["ratio"] = (1.0 / right.ratio_CVLS).tolist()

    agreement = compare(parse_codec_tables(upside_down).curves, right)

    assert agreement.ratio_error > 0.0
    assert agreement.regrets.max() > 0.5


@pytest.mark.parametrize("key", ["corpora", "ratio", "chunk_bytes", "machine"])
def test_damaged_table_is_refused(body, key):
    damaged = {name: value for name, value in body.items() if name != key}

    with pytest.raises(UnreadableInputError, match="codec table"):
        parse_codec_tables(damaged)


def test_table_of_another_shape_or_with_a_negative_speed_is_refused(body):
    short = body | {"codecs": ["none"]}
    negative = body | {"compress_mb_s": (-np.array(body["compress_mb_s"])).tolist()}

    with pytest.raises(SchemaError, match="ratio_CVLS"):
        parse_codec_tables(short)
    with pytest.raises(OutOfRangeError, match="compress_mb_s"):
        parse_codec_tables(negative)


def test_chunk_sizes_out_of_order_are_refused():
    ones = np.ones((1, 2, 1, 2))

    with pytest.raises(OutOfRangeError, match="increasing"):
        CodecCurves(
            corpora=("a",), codecs=("x",), chunk_bytes=np.array([2.0, 1.0]),
            ratio_CVLS=ones, compress_mb_s_CVLS=ones, decompress_mb_s_CVLS=ones,
        )  # fmt: skip


def test_shipped_table_has_the_ladder_its_provenance_and_every_side_of_the_split():
    tables = codec_tables()

    assert tables.curves.codecs == CODECS
    assert set(tables.splits) == {"train", "validation", "test", "ood"}
    assert tables.provenance["command"] == "python -m rl_envs.calibrate codec"
    assert {"python", "zstandard", "zstd", "lz4"} == set(tables.provenance["versions"])
    assert CODEC_TABLE.stat().st_size < 200_000


def test_shipped_table_obeys_what_codecs_do():
    curves = codec_tables().curves
    random = curves.corpora.index("random")
    fast, best = CODECS.index("lz4-1"), CODECS.index("zstd-19")

    plain = curves.ratio_CVLS[:, 0]
    assert np.abs(plain[random, 1:] - 1).max() < 0.05
    assert (np.delete(plain[:, best] - plain[:, fast], random, axis=0) > 0).all()
    speed = curves.compress_mb_s_CVLS[:, 0]
    assert (speed[:, fast, 2] > 5 * speed[:, best, 2]).all()


def test_memory_and_dirty_pages_of_a_running_workload_are_read():
    memory, dirty = process_corpora(
        "ledger", ("train", "train"), 131_072, np.random.default_rng(0)
    )

    assert len(memory.data) == len(dirty.data) == len(dirty.before) == 131_072
    assert 0.0 < dirty.changed_byte_ratio < 0.2
    assert 0.0 <= memory.zero_page_ratio < 1.0
    assert memory.before is None


def test_unknown_workload_is_reported_not_awaited():
    with pytest.raises(NotReadyError, match="no_such"):
        process_corpora("no_such", ("train", "train"), 4096, np.random.default_rng(0))


def test_command_writes_a_table_that_can_be_read(monkeypatch, tmp_path, capsys, corpora):
    small = Corpus(name="logs", split="train", data=corpora[0].data[:8192])
    monkeypatch.setattr(calibrate, "host_corpora", lambda size, seed: [small])
    monkeypatch.setattr(calibrate, "CHUNK_BYTES", SIZES)
    output = tmp_path / "codec_curves.json"

    code = calibrate.main(["codec", "--quick", "--output", str(output)])

    table = parse_codec_tables(json.loads(output.read_text()))
    assert code == 0
    assert json.loads(capsys.readouterr().out)["table"] == str(output)
    assert table.curves.corpora == ("logs",)
    assert table.provenance["command"].endswith("--quick")


def test_command_without_a_codec_library_ends_with_its_exit_code(monkeypatch, corpora, capsys):
    monkeypatch.setattr(calibrate, "host_corpora", lambda size, seed: corpora)
    monkeypatch.setitem(sys.modules, "lz4.frame", None)

    code = calibrate.main(["codec", "--quick"])

    assert code == MissingDependencyError.exit_code
    assert "codecs" in capsys.readouterr().err

import json

import pytest
from pyarrow import fs

from novacron.errors import ConfigError
from tuning.storage import Storage


@pytest.fixture(params=["local", "fsspec"])
def storage(request, tmp_path):
    if request.param == "local":
        return Storage.open(str(tmp_path / "searches"))
    return Storage.open(f"memory://{tmp_path.name}")


def test_what_is_written_is_read_and_listed(storage):
    storage.write_json("trials/one/started.json", {"a": 1})

    assert storage.read_json("trials/one/started.json") == {"a": 1}
    assert storage.names("trials") == ["trials/one/started.json"]
    assert storage.below("trials").names() == ["one/started.json"]
    assert storage.read_json("trials/two/started.json") is None
    assert storage.names("nothing") == []


def test_a_folder_shows_up_only_when_it_is_whole(storage, tmp_path):
    source = tmp_path / "state"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "weights.bin").write_bytes(b"\x00\x01")
    (source / "step.json").write_text("3")
    assert not storage.has_folder("states/3")

    storage.put_folder(source, "states/3")

    assert storage.has_folder("states/3")
    with storage.folder_here("states/3") as here:
        assert (here / "inner" / "weights.bin").read_bytes() == b"\x00\x01"
        assert (here / "step.json").read_text() == "3"
    storage.remove_folder("states/3")
    assert not storage.has_folder("states/3")
    assert storage.names("states") == []


def test_a_place_that_can_be_written_passes(storage):
    storage.check_writable()

    assert storage.names() == []


def test_a_place_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    blocking = tmp_path / "a_file"
    blocking.write_text("")

    with pytest.raises(ConfigError, match="a place that can be written"):
        Storage.open(str(blocking / "below")).check_writable()


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ConfigError, match="nowhere://x"):
        Storage.open("nowhere://x/y")


def test_a_killed_writer_leaves_no_document_cut_short(tmp_path):
    storage = Storage.open(str(tmp_path))
    (tmp_path / "ended.json.ab12.tmp").write_text('{"half')

    assert storage.names() == []
    assert storage.read_json("ended.json") is None


def test_a_document_is_plain_json_on_a_local_disk(tmp_path):
    Storage(fs.LocalFileSystem(), str(tmp_path)).write_json("a/b.json", {"x": [1, 2]})

    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": [1, 2]}


def test_a_number_that_is_none_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        Storage.open(str(tmp_path)).write_json("a.json", {"x": float("nan")})

import pickle
import zipfile

import doubling_model
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from novacron.errors import ArtifactError
from novacron.registry.bundle_files import BundleFile, bundle_sha256, check_files, list_files

MAX_BYTES = 1 << 20


@pytest.fixture
def bundle_dir(tmp_path):
    return doubling_model.write_bundle(tmp_path / "bundle")


def test_every_file_is_listed_by_its_path_inside_the_bundle(bundle_dir):
    files = list_files(bundle_dir, max_bytes=MAX_BYTES)

    assert [file.path for file in files] == ["bundle.json", "weights/factor.json"]


def test_the_digest_of_a_bundle_changes_with_any_byte_and_any_name(bundle_dir):
    before = bundle_sha256(list_files(bundle_dir, max_bytes=MAX_BYTES))

    (bundle_dir / "weights" / "factor.json").write_text("3.0")
    changed = bundle_sha256(list_files(bundle_dir, max_bytes=MAX_BYTES))
    (bundle_dir / "weights" / "factor.json").write_text("2.0")
    (bundle_dir / "weights" / "factor.json").rename(bundle_dir / "weights" / "renamed.json")
    renamed = bundle_sha256(list_files(bundle_dir, max_bytes=MAX_BYTES))

    assert len({before, changed, renamed}) == 3


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(ArtifactError, match=r"bundle\.json"):
        list_files(tmp_path, max_bytes=MAX_BYTES)


def test_a_bundle_over_the_limit_is_refused(bundle_dir):
    with pytest.raises(ArtifactError, match="the limit is 10"):
        list_files(bundle_dir, max_bytes=10)


@pytest.mark.parametrize(
    "name", ["model.pkl", "weights.pt", "code.py", "model.joblib", "noending"]
)
def test_a_format_not_known_to_be_safe_is_refused(bundle_dir, name):
    (bundle_dir / name).write_text("{}")

    with pytest.raises(ArtifactError, match=name):
        list_files(bundle_dir, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_a_harmless_name_is_refused(bundle_dir, protocol):
    (bundle_dir / "weights.txt").write_bytes(pickle.dumps({"a": 1}, protocol=protocol))

    with pytest.raises(ArtifactError, match="pickle"):
        list_files(bundle_dir, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("header_bytes", [640, 896, 1152, 1408])
def test_safetensors_whose_header_length_looks_like_a_pickle_are_accepted(
    bundle_dir, header_bytes
):
    header = b'{"__metadata__":{}}'.ljust(header_bytes)
    path = bundle_dir / "weights.safetensors"
    path.write_bytes(header_bytes.to_bytes(8, "little") + header)
    assert safetensors.numpy.load_file(path) == {}

    assert path.name in [file.path for file in list_files(bundle_dir, max_bytes=MAX_BYTES)]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_named_safetensors_is_refused(bundle_dir, protocol):
    (bundle_dir / "weights.safetensors").write_bytes(pickle.dumps({"a": 1}, protocol=protocol))

    with pytest.raises(ArtifactError, match="pickle"):
        list_files(bundle_dir, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("member", ["data.pkl", "archive/data.json"])
def test_a_pickle_inside_an_archive_is_refused(bundle_dir, member):
    with zipfile.ZipFile(bundle_dir / "model.skops", "w") as archive:
        archive.writestr(member, pickle.dumps([1]))

    with pytest.raises(ArtifactError, match="pickle"):
        list_files(bundle_dir, max_bytes=MAX_BYTES)


def test_an_archive_without_pickle_is_accepted(bundle_dir):
    with zipfile.ZipFile(bundle_dir / "model.skops", "w") as archive:
        archive.writestr("schema.json", "{}")

    assert "model.skops" in [file.path for file in list_files(bundle_dir, max_bytes=MAX_BYTES)]


def test_a_link_is_refused_even_to_a_harmless_file(bundle_dir, tmp_path):
    (tmp_path / "outside.json").write_text("{}")
    (bundle_dir / "inside.json").symlink_to(tmp_path / "outside.json")

    with pytest.raises(ArtifactError, match="not a plain file"):
        list_files(bundle_dir, max_bytes=MAX_BYTES)


def test_a_changed_file_is_named_with_both_digests(bundle_dir):
    promised = list_files(bundle_dir, max_bytes=MAX_BYTES)
    (bundle_dir / "weights" / "factor.json").write_text("9.0")

    with pytest.raises(ArtifactError, match=r"weights/factor\.json") as caught:
        check_files(list_files(bundle_dir, max_bytes=MAX_BYTES), promised)

    assert promised[1].sha256 in str(caught.value)


def test_a_missing_and_an_added_file_are_both_named(bundle_dir):
    promised = list_files(bundle_dir, max_bytes=MAX_BYTES)
    (bundle_dir / "weights" / "factor.json").rename(bundle_dir / "other.json")

    with pytest.raises(ArtifactError, match=r"missing \['weights/factor\.json'\], added \['other"):
        check_files(list_files(bundle_dir, max_bytes=MAX_BYTES), promised)


@given(
    st.sampled_from(["../", "/", "a/../../", "C:", "..\\", "a\\"]),
    st.text(alphabet="abc./", max_size=8),
)
@settings(max_examples=50)
def test_no_path_leads_out_of_the_bundle(prefix, rest):
    with pytest.raises(ValidationError):
        BundleFile(path=f"{prefix}{rest}", sha256="a" * 64, size_bytes=1)

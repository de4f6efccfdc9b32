from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from novacron.errors import ConfigError
from ray_jobs.config import load_config


class Member(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden_units: int = Field(default=8, ge=1)


class Training(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=0.1, gt=0, lt=1)
    seeds: tuple[int, ...] = (0,)
    member: Member = Member()
    others: tuple[Member, ...] = ()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "training.yaml"
    path.write_text(text)
    return path


def test_yaml_becomes_the_typed_object(tmp_path: Path) -> None:
    path = write(tmp_path, "learning_rate: 0.5\nseeds: [1, 2]\nmember: {hidden_units: 3}\n")

    config = load_config(path, Training)

    assert config == Training(learning_rate=0.5, seeds=(1, 2), member=Member(hidden_units=3))


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "")

    config = load_config(path, Training)

    assert config == Training()


def test_a_misspelt_key_is_refused_and_the_nearest_one_named(tmp_path: Path) -> None:
    path = write(tmp_path, "learning_rat: 0.5\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path, Training)

    assert "learning_rat" in caught.value.field
    assert "Did you mean 'learning_rate'?" in caught.value.remedy


def test_a_misspelt_key_of_a_nested_block_is_matched_against_that_block(tmp_path: Path) -> None:
    path = write(tmp_path, "member: {hidden_unit: 3}\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path, Training)

    assert caught.value.field.endswith("member.hidden_unit")
    assert "Did you mean 'hidden_units'?" in caught.value.remedy


def test_a_misspelt_key_inside_a_list_is_matched_against_its_items(tmp_path: Path) -> None:
    path = write(tmp_path, "others: [{hidden_units: 1}, {hiden_units: 3}]\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path, Training)

    assert "others.1.hiden_units" in caught.value.field
    assert "Did you mean 'hidden_units'?" in caught.value.remedy


def test_a_value_out_of_bounds_names_key_value_and_bound(tmp_path: Path) -> None:
    path = write(tmp_path, "learning_rate: 7\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path, Training)

    assert caught.value.field.endswith("learning_rate")
    assert caught.value.got == "7"
    assert "less than 1" in caught.value.expected


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "learning_rate: 7\nseeds: none\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path, Training)

    assert "seeds" in caught.value.remedy


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "a: [1", "a: \t- b"])
def test_a_file_that_is_no_mapping_is_a_config_error(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)

    with pytest.raises(ConfigError):
        load_config(path, Training)


def test_a_missing_file_is_a_config_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "nowhere.yaml", Training)

    assert "nowhere.yaml" in caught.value.field

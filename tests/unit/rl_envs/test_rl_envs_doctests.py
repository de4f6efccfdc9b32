import doctest
import importlib
import pkgutil

import pytest

import rl_envs.physics

MODULES = [
    f"rl_envs.physics.{module.name}" for module in pkgutil.iter_modules(rl_envs.physics.__path__)
] + ["rl_envs.noise"]
WITHOUT_LAWS = {"rl_envs.physics.quantities"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_the_docstrings_hold(name):
    outcome = doctest.testmod(importlib.import_module(name))

    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize("name", sorted(set(MODULES) - WITHOUT_LAWS - {"rl_envs.noise"}))
def test_every_public_law_has_an_example(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=False)

    without = [
        test.name
        for test in finder.find(module)
        if test.name.count(".") == 1
        and not test.name.split(".")[1].startswith("_")
        and callable(getattr(module, test.name.split(".")[1], None))
        and not isinstance(getattr(module, test.name.split(".")[1]), type)
        and not test.examples
    ]

    assert without == []

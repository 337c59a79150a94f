from pathlib import Path

from ossmount.options.declarations import OPTIONS
from ossmount.options.foreign import FOREIGN
from ossmount.options.profiles import PROFILES
from ossmount.options.reference import markdown


def test_the_written_reference_is_the_generated_one() -> None:
    written = Path(__file__).parents[3] / "CONFIGURATION.md"
    assert written.read_text("utf-8") == markdown(), "run: python -m ossmount.options.reference > CONFIGURATION.md"


def test_every_option_is_explained() -> None:
    text = markdown()
    for option in OPTIONS:
        assert f"| `{option.name}" in text
        assert option.help.endswith(".")


def test_names_are_unique() -> None:
    names = [option.name for option in OPTIONS]
    variables = [name for option in OPTIONS for name in (option.variable, *option.variables)]
    assert len(set(names)) == len(names)
    assert len(set(variables)) == len(variables)
    assert not set(names) & set(FOREIGN)


def test_profiles_and_names_of_other_file_systems_are_told() -> None:
    text = markdown()
    for name in PROFILES:
        assert f"| `{name}` |" in text
    for name in FOREIGN:
        assert f"`{name}`" in text

from pathlib import Path

from ossmount.options.declarations import OPTIONS
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
    names = [name for option in OPTIONS for name in (option.name, *option.aliases)]
    variables = [name for option in OPTIONS for name in (option.variable, *option.variables)]
    assert len(set(names)) == len(names)
    assert len(set(variables)) == len(variables)

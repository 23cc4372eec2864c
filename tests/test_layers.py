"""Imports lead downwards: the layers in pyproject.toml hold."""

from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_layers(capsys) -> None:
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out
    assert "2 kept, 0 broken" in capsys.readouterr().out


def test_every_package_and_command_has_its_layer() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    packages = {path.parent.name for path in (ROOT / "wsol").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "wsol").glob("*.py")} - {"__init__"}
    missing = {name for name in packages | modules if f"wsol.{name}" not in text.partition("layers = [")[2]}
    assert not missing

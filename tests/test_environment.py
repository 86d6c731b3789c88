"""The lock, the conda environment, the schema and the README say the same as their sources."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from loading import load

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "workflow" / "scripts" / "detoxmerge"


def pins() -> dict[str, str]:
    lines = (ROOT / "envs" / "lock.txt").read_text().splitlines()
    return dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))


def test_the_conda_environment_is_made_from_the_lock() -> None:
    lock = (ROOT / "envs" / "lock.txt").read_text()
    made = load(ROOT / "envs" / "lock.py").conda_environment(lock)
    assert (ROOT / "envs" / "detoxmerge.yaml").read_text() == made, "run `make lock`"


def test_the_lock_pins_every_direct_dependency_and_no_build() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    direct = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    direct += project["project"]["optional-dependencies"]["workflow"]
    names = {re.split(r"[><=]", name)[0].lower() for name in direct}
    locked = {name.replace("_", "-"): version for name, version in pins().items()}
    assert names <= locked.keys()
    assert not any("+" in version or "@" in version for version in locked.values())


def test_package_citation_and_changelog_have_the_same_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\d.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest[1] == version


def test_the_lock_is_what_is_installed() -> None:
    from importlib.metadata import version

    for name, pinned in pins().items():
        assert version(name).split("+")[0] == pinned, name


def test_the_schema_is_generated_from_the_config_model() -> None:
    made = load(ROOT / "config" / "make_schema.py").schema()
    assert (ROOT / "config" / "schema.json").read_text() == made, "run `make schema`"


def test_the_readme_maps_every_folder_of_the_library() -> None:
    mapped = re.findall(r"^        (\w+)/ +\w", (ROOT / "README.md").read_text(), re.M)
    folders = {f.parent.name for f in LIBRARY.glob("*/__init__.py")}
    assert set(mapped) == folders


def test_the_library_is_free_of_the_workflow() -> None:
    """It knows no Snakemake, no command line but its own, and no working folder."""
    for file in LIBRARY.rglob("*.py"):
        text = file.read_text() if file.name not in ("cli.py", "arguments.py") else ""
        for word in ("import snakemake", "sys.argv", "argparse", "getcwd", "chdir", "Path.cwd"):
            assert word not in text, (file, word)


def test_what_the_snakefile_imports_is_free_of_torch() -> None:
    rules = [*ROOT.glob("workflow/rules/*.smk"), ROOT / "workflow" / "Snakefile"]
    lines = {line for f in rules for line in re.findall(r"^from detoxmerge.*", f.read_text(), re.M)}
    assert len(lines) > 8
    code = (
        f"import sys; {'; '.join(sorted(lines))}; from detoxmerge.plan import registry;"
        "[*registry.METHODS.values()]; registry.metric_functions();"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'numpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    folder = ROOT / "workflow" / "scripts"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


def test_scripts_are_thin_and_bear_their_rules_names() -> None:
    scripts = {file.stem: file for file in (ROOT / "workflow" / "scripts").glob("*.py")}
    rules = set()
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        rules |= set(re.findall(r"^rule (\w+):", file.read_text(), re.M))
    # one script each for all figures and all tables; the worker is accelerate's
    assert scripts.keys() == rules | {"plot", "make_table", "finetune_worker"}
    for file in scripts.values():
        assert len(file.read_text().splitlines()) <= 26, file

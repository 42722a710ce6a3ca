"""What the documents say exists, and what they show is what comes out."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup
from typer.testing import CliRunner

from scripts import gate_reference
from scripts.profile_reference import PAGE, with_reference
from slipway import errors
from slipway.cli.main import app
from slipway.preflight.capacity import capacity
from slipway.preflight.subject import subject
from slipway.profile import load_profile
from slipway.stages.forecast import gpu_seconds
from slipway.stages.names import ON_GPU, Stage
from tests.support.browser import Watched, chromium, keep_screenshot

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SOURCES = sorted(
    path
    for pattern in ("flows/**/*.py", "tasks/**/*.py", "slipway/**/*.py", "deployments/**/*.yaml", "*.yaml", "*.toml")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(?ms:^```.*?^```)|`[^`\n]+`|(?m:^ {4,}\S[^\n]*$)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n+^```text\n(.*?)^```", re.DOTALL | re.MULTILINE)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
WORKFLOW = re.compile(r"^```yaml\n(name: .*?)^```", re.DOTALL | re.MULTILINE)
FOLDERS = ("slipway", "flows", "tasks", "tests", "docs", "scripts", "deployments", "benchmarks")
COMMAND = typer.main.get_command(app)
assert isinstance(COMMAND, TyperGroup)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_in(page: Path) -> list[str]:
    """Every fenced block, code span and indented line."""
    return [found.strip("`") for found in CODE.findall(page.read_text())]


def commands_in(page: Path, program: str) -> Iterator[tuple[str, str]]:
    """Each use of a program: its subcommand or target, and the rest of the line."""
    for code in code_in(page):
        yield from re.findall(rf"(?m)(?:^|\s|/|\$ ){program} ([a-z][a-z-]*)\b(.*)$", code)


def anchors_of(page: Path) -> set[str]:
    """The ids that GitHub gives headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(FENCE.sub("", page.read_text()))
    }


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(CODE.sub("", page.read_text())):
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if "://" in link:
            continue
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))
    assert {target for target, _ in commands_in(page, "make")} <= targets


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_their_options_exist(page: Path) -> None:
    for name, rest in commands_in(page, "slipway"):
        assert name in COMMAND.commands, f"slipway {name}"
        command = COMMAND.commands[name]
        parts = [command, *(command.commands.values() if isinstance(command, TyperGroup) else ())]
        known = {option for part in parts for parameter in part.params for option in parameter.opts}
        used = set(re.findall(r"(?<!\S)--[a-z-]+", rest.partition("|")[0]))
        assert used <= known, f"slipway {name}{rest}"


def test_every_command_is_documented() -> None:
    assert {name for page in PAGES for name, _ in commands_in(page, "slipway")} == set(COMMAND.commands)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_modules_and_files_exist(page: Path) -> None:
    repo = load_profile("miniature").model.repo
    for code in code_in(page):
        for module in re.findall(r"python3? -m ([\w.]+)", code):
            if module.partition(".")[0] in FOLDERS:
                assert importlib.util.find_spec(module), module
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", code) and not code.startswith(repo):
            assert (ROOT / code).exists(), code


@pytest.mark.parametrize("source", [s for s in SOURCES if "docs/" in s.read_text()], ids=named)
def test_pages_named_in_the_code_exist(source: Path) -> None:
    pages = re.findall(r"\bdocs/[\w/.-]+\.md", source.read_text())
    assert not [page for page in pages if not (ROOT / page).exists()]


def test_the_table_of_profile_fields_is_current() -> None:
    page = PAGE.read_text()
    assert with_reference(page) == page, "run `python -m scripts.profile_reference`"


def test_the_table_of_metrics_is_current() -> None:
    page = gate_reference.PAGE.read_text()
    assert gate_reference.with_reference(page) == page, "run `python -m scripts.gate_reference`"


def test_the_table_of_profile_fields_needs_its_markers() -> None:
    with pytest.raises(ValueError, match="the page needs"):
        with_reference("# Profiles\n")


@pytest.mark.parametrize("page", [p for p in PAGES if EXAMPLE.search(p.read_text())], ids=named)
def test_examples_print_what_the_page_shows(page: Path) -> None:
    for program, shown in EXAMPLE.findall(page.read_text()):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(program, {})
        assert printed.getvalue() == shown


@pytest.mark.parametrize("page", [p for p in PAGES if CONSOLE.search(p.read_text())], ids=named)
def test_commands_at_a_prompt_do_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line shown must come, in this order; `…` stands for anything, spaces for any number of them."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    for session in CONSOLE.findall(page.read_text()):
        for prompt in session.removeprefix("$ ").split("\n$ "):
            typed, *shown = prompt.splitlines()
            words, _, expected = typed.partition("# ends with ")
            program, *arguments = shlex.split(words)
            assert program == "slipway"
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code == int(expected or 0), done.output
            lines = [re.escape(" ".join(line.split())).replace("…", ".*") for line in shown if line.strip() != "…"]
            printed = "\n".join(" ".join(line.split()) for line in done.output.splitlines())
            assert re.search("(?s)" + ".*".join(lines), printed), printed


def test_the_example_workflow_is_one() -> None:
    (text,) = WORKFLOW.findall((DOCS / "gate-in-ci.md").read_text())
    workflow = yaml.safe_load(text)
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert [command.split()[0] for command in commands] == ["make", ".venv/bin/slipway"]
    assert all("run" in step or "uses" in step for step in job["steps"])
    given = shlex.split(commands[-1].partition(">")[0])
    assert load_profile(given[given.index("--profile") + 1]).api_key_secret in str(job)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.slow
def test_the_site_is_built_whole_and_asks_no_other_host(site: Path) -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "CONTRIBUTING.md"]:
        html = (site / page.with_suffix(".html").name).read_text()
        assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>", html)


@pytest.mark.slow
def test_search_finds_a_page_of_the_site_opened_from_disk(site: Path, tmp_path: Path) -> None:
    with chromium() as browser:
        watched = Watched(browser.new_page())
        watched.page.goto((site / "index.html").as_uri())
        watched.page.get_by_role("textbox", name="Search").fill("accept length")
        found = watched.page.locator(".md-search-result__link")
        found.first.wait_for()
        keep_screenshot(watched.page, tmp_path, "docs-search")
        assert any("accept" in text.lower() for text in found.all_inner_texts())
        found.first.click()
        watched.page.wait_for_url(lambda url: "index.html" not in url)
    assert {request.partition(":")[0] for request in watched.requests} <= {"file", "data", "blob"}
    assert not watched.complaints


def test_every_error_is_explained_with_its_exit_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    for name, kind in errors.ERROR_KINDS.items():
        assert f"| `{name}` | {kind.exit_code} |" in page
        assert f"## {name}: " in page


def test_every_stage_is_described() -> None:
    page = (DOCS / "releasing.md").read_text()
    assert not [stage for stage in Stage if f"\n| {stage} | " not in page]


def test_costs_name_every_stage_that_holds_gpus() -> None:
    page = (DOCS / "costs.md").read_text()
    seen = subject(load_profile("glm51"))
    assert set(gpu_seconds(seen, capacity(seen))) == ON_GPU
    assert not [stage for stage in Stage if stage is not Stage.PLAN and f"\n| {stage} | " not in page]


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=named)
def test_decisions_have_one_form(page: Path) -> None:
    title, *sections = HEADING.findall(page.read_text())
    assert title.startswith(f"{page.name[:4]}: ")
    assert sections == ["Context", "Decision", "Consequences"]

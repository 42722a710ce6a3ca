"""The doctor at Modal: through the real client, what an account lacks is found, and what a run makes is not missed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows import doctor as prefect_doctor
from slipway.cli.main import app
from slipway.miniature import hub
from slipway.profile.load import profile_directory
from slipway.stages.surroundings import CHECKPOINT_DIR
from tests.support.modal_plane import Plane


def look(tmp_path: Path, hub_url: str, *, exit_code: int) -> dict[str, dict[str, str]]:
    """What each check says of the miniature, were it released at Modal."""
    document = yaml.safe_load((profile_directory() / "miniature.yaml").read_text())
    document |= {"name": "ward", "app": "ward", "platform": "modal"}
    document["model"] |= {"hub": hub_url}
    profile = tmp_path / "ward.yaml"
    profile.write_text(yaml.safe_dump(document))
    result = CliRunner().invoke(app, ["doctor", str(profile), "--json"])
    assert result.exit_code == exit_code, result.output
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(prefect_doctor, "is_configured", lambda: False)


def test_an_account_is_well_before_its_first_release(tmp_path: Path, modal_environment: str) -> None:
    with hub.serve(CHECKPOINT_DIR, repo="slipway/glm-5.1-miniature") as address:
        checks = look(tmp_path, address.url, exit_code=0)
    assert {check["health"] for check in checks.values()} == {"ok"}
    assert modal_environment in checks["Modal's token"]["seen"]
    assert checks["volumes"]["seen"].startswith("0 of 4 are there")
    assert checks["live release"]["seen"] == "nothing serves ward"


def test_a_token_that_is_refused_is_found(tmp_path: Path, plane: Plane, modal_environment: str) -> None:
    plane.faults.add("ClientHello", "auth", count=9)
    try:
        with hub.serve(CHECKPOINT_DIR, repo="slipway/glm-5.1-miniature") as address:
            checks = look(tmp_path, address.url, exit_code=1)
    finally:
        plane.faults.clear()
    assert checks["Modal's token"]["health"] == "failed"
    assert "token" in checks["Modal's token"]["remedy"]
    assert "volumes" not in checks, "nothing more is asked of who does not let us in"

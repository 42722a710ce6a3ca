"""What is asked of Modal for production's profile, read back from the control plane: the table of docs/modal.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.kernels.key import kernel_key
from slipway.platforms.modal import apps
from slipway.platforms.modal.definitions import SOURCES, Place, jobs_app, serve_app
from slipway.platforms.modal.images import image_for
from slipway.platforms.modal.platform import ModalPlatform
from slipway.profile import Profile, load_profile
from slipway.stages.candidate import server_spec
from slipway.stages.jobs import job_kinds
from slipway.stages.machines import replicas
from slipway.weights.manifest import Manifest, ManifestFile
from tests.support.modal_plane import Definition, Plane
from tests.support.world import World

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "1a" * 32
COLUMNS = ("live", "candidate", "precompile", "weights", "measure")
MANIFEST = Manifest(
    repo="zai-org/GLM-5.1-FP8",
    commit="c0" * 20,
    files=(ManifestFile(path="config.json", size_bytes=2, git_blob_id="ab" * 20),),
)


def described(definition: Definition) -> dict[str, str]:
    """A deployed function in the words of the table."""
    proto = definition.proto
    gpu, web, scaling = proto.resources.gpu_config, proto.webhook_config, proto.autoscaler_settings
    serves = bool(web.web_server_port)
    volumes = sorted(f"{one['path']} {'ro' if one['read_only'] else 'rw'}" for one in definition.volumes)
    return {
        "GPU": f"{gpu.gpu_type}:{gpu.count}" if gpu.count else "",
        "cores": f"{proto.resources.milli_cpu / 1000:g}" if proto.resources.milli_cpu else "",
        "memory (MiB)": str(proto.resources.memory_mb or ""),
        "image": image(definition),
        "volumes": ", ".join(reversed(volumes)) if "/model-cache" in volumes[-1] else ", ".join(volumes),
        "secrets": ", ".join(definition.secrets),
        "containers, least": str(scaling.min_containers) if scaling.HasField("min_containers") else "",
        "containers, most": str(scaling.max_containers) if scaling.HasField("max_containers") else "",
        "idle window (s)": str(scaling.scaledown_window),
        "inputs at once": str(proto.max_concurrent_inputs or ""),
        "container for one input only": "yes" if proto.single_use_containers else "no",
        "web server port": str(web.web_server_port) if serves else "",
        "web server start-up (s)": f"{web.web_server_startup_timeout:g}" if serves else "",
        "start-up (s)": str(proto.startup_timeout_secs),
        "time-out (s)": str(proto.timeout_secs),
    }


def image(definition: Definition) -> str:
    base = next(line.removeprefix("FROM ") for line in definition.image if line.startswith("FROM "))
    return base.replace(DIGEST, "sha256:…") if "@" in base else "debian-slim"


def in_the_docs() -> dict[str, dict[str, str]]:
    text = (ROOT / "docs" / "modal.md").read_text()
    table = text.split("<!-- definitions: begin -->\n")[1].split("<!-- definitions: end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
    return {
        column: {row[0]: row[number] for row in rows[2:]} for number, column in enumerate(rows[0]) if column != "field"
    }


@pytest.fixture
def profile() -> Profile:
    """Production's, with its image and weights as a lock would have them."""
    profile = load_profile("glm51")
    engine = profile.engine.model_copy(update={"image": f"{str(profile.engine.image).split('@')[0]}@{DIGEST}"})
    return profile.model_copy(update={"engine": engine})


def deploy_all(platform: ModalPlatform, profile: Profile) -> dict[str, tuple[str, str]]:
    """Deploy every app of a profile; by column of the table, app and kind of function."""
    places = [Place.of(job) for job in job_kinds(platform, profile)]
    spec = server_spec(profile, MANIFEST, kernel_key(profile, MANIFEST.digest), "glm51.r1")
    platform.provide({*spec.secrets, *(name for place in places for name in place.secrets)})
    apps.put(jobs_app("glm51-jobs", places), "glm51-jobs", tag="")
    image = image_for(spec.resources, SOURCES)
    for name, wanted in (("glm51", replicas(profile)), ("glm51-c-1", spec.replicas.single())):
        apps.put(serve_app(name, spec, wanted, server_id=name, image=image), name, tag="")
    jobs = {column: ("glm51-jobs", column) for column in COLUMNS[2:]}
    return {"live": ("glm51", "serve"), "candidate": ("glm51-c-1", "serve"), **jobs}


def test_the_definitions_are_those_of_the_documented_table(
    plane: Plane, modal_environment: str, tmp_path: Path, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of-nobody")
    deployed = deploy_all(ModalPlatform(tmp_path), profile)
    read_back = {}
    for column, (app, kind) in deployed.items():
        found = plane.definitions(app, modal_environment)
        read_back[column] = described(next(one for name, one in found.items() if name.split("-")[0] == kind))
    assert read_back == in_the_docs()
    live = plane.definitions("glm51", modal_environment)["serve"]
    assert set(live.env) == {"SLIPWAY_SERVER"}
    assert live.image == [f"FROM {profile.engine.image}", "ENTRYPOINT []"]


def comparable(definition: Definition) -> Any:
    """A definition without what is bound to one deployment."""
    return described(definition), definition.image, sorted(definition.files)


def test_deploying_the_files_by_hand_gives_the_same(plane: Plane, modal_environment: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    file = world.profile(platform="modal")
    env = {**os.environ, **world.env(), "SLIPWAY_PROFILE": str(file), "PYTHONPATH": str(ROOT)}
    for name in ("jobs", "serve"):
        command = [sys.executable, "-m", "modal", "deploy", f"deployments/{name}_app.py"]
        subprocess.run(command, check=True, env=env, cwd=ROOT, capture_output=True, timeout=120)
    by_hand = plane.definitions("e2e-jobs", modal_environment) | plane.definitions("e2e", modal_environment)

    profile, platform = load_profile(str(file)), ModalPlatform(tmp_path)
    places = [Place.of(job) for job in job_kinds(platform, profile)]
    spec = server_spec(profile, MANIFEST, kernel_key(profile, MANIFEST.digest), "e2e.r1")
    apps.put(jobs_app("other-jobs", places), "other-jobs", tag="")
    image = image_for(spec.resources, SOURCES)
    apps.put(serve_app("other", spec, replicas(profile), server_id="other", image=image), "other", tag="")
    adapters = plane.definitions("other-jobs", modal_environment) | plane.definitions("other", modal_environment)
    assert {name: comparable(one) for name, one in by_hand.items()} == {
        name: comparable(one) for name, one in adapters.items()
    }

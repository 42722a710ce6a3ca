"""What the apps of one profile at Modal are made of: names, figures and handles, once for both app files.

`SLIPWAY_PROFILE` names the profile; glm51 if it is not set. Everything here comes from the profile and its lock.
"""

from __future__ import annotations

import os
from typing import Final

from slipway.kernels.key import kernel_key
from slipway.platforms.modal.definitions import Place
from slipway.platforms.modal.platform import ModalPlatform
from slipway.platforms.port import ServerSpec
from slipway.profile import Profile, load_profile
from slipway.stages.candidate import server_spec
from slipway.stages.jobs import job_kinds
from slipway.stages.planning import resolve
from slipway.stages.run import new_release_id
from slipway.stages.surroundings import home, hub_endpoint, jobs_app_name

PROFILE: Final[Profile] = load_profile(os.environ.get("SLIPWAY_PROFILE", "glm51"))
APP: Final = PROFILE.app
JOBS_APP: Final = jobs_app_name(PROFILE)
PLATFORM: Final = ModalPlatform(home() / "modal", jobs=JOBS_APP)
PLACES: Final = tuple(Place.of(job) for job in job_kinds(PLATFORM, PROFILE))

PLATFORM.provide({PROFILE.api_key_secret, *(name for place in PLACES for name in place.secrets)})


def specification() -> ServerSpec:
    """How the profile is served; asks the Hub which files its weights have.

    Raises:
        Transient: If the Hub does not answer.
        Misconfigured: If there are no such weights.
    """
    with hub_endpoint(PROFILE) as hub:
        manifest = resolve(PROFILE, PLATFORM, hub)
    return server_spec(PROFILE, manifest, kernel_key(PROFILE, manifest.digest), new_release_id(APP))

"""The server of a profile at Modal, under its live name, as a promotion would deploy it.

    SLIPWAY_PROFILE=glm51 modal deploy deployments/serve_app.py

Nothing has judged what is deployed so, and Slipway does not know it: the next release refuses to replace it. It needs
weights and kernels in the volumes (`slipway weights sync`, `prefect deployment run precompile/…`).
"""

from typing import Final

from deployments.resources import APP, PROFILE, specification
from slipway.platforms.modal.definitions import SOURCES, serve_app
from slipway.platforms.modal.images import image_for
from slipway.stages.machines import replicas

SPECIFICATION: Final = specification()
app = serve_app(
    APP,
    SPECIFICATION,
    replicas(PROFILE),
    server_id=f"{APP}-by-hand",
    image=image_for(SPECIFICATION.resources, SOURCES),
)

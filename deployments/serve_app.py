"""The server of a profile at Modal, under its live name, as a promotion would deploy it.

    SLIPWAY_PROFILE=glm51 modal deploy deployments/serve_app.py

Nothing has judged what is deployed so, and Slipway does not know it: the next release refuses to replace it. It needs
weights and kernels in the volumes (`slipway weights sync`, `prefect deployment run precompile/…`).
"""

from deployments.resources import APP, PROFILE, specification
from slipway.platforms.modal.definitions import serve_app
from slipway.stages.machines import replicas

app = serve_app(APP, specification(), replicas(PROFILE), server_id=f"{APP}-by-hand")

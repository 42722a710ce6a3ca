"""The jobs of a profile at Modal, as a release would deploy them.

    SLIPWAY_PROFILE=glm51 modal deploy deployments/jobs_app.py

One function for each kind of job, named after it and the digest of all that defines it: `weights` fetches, repairs
and hashes on machines without GPUs; `precompile` runs on the GPUs and in the image that serve; `measure` sends the
requests of the gates from beside the endpoint; `datasets` fetches their questions.
"""

from deployments.resources import JOBS_APP, PLACES
from slipway.platforms.modal.definitions import jobs_app

app = jobs_app(JOBS_APP, PLACES)

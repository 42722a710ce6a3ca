"""What all tests share."""

import os

import pytest
from hypothesis import settings

# One BLAS thread, as `slipway.miniature` has it for itself: many tests import NumPy before that.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Machines that run these are busy: an example that takes long says nothing about the code. The examples are the
# same in every run, so that a change is what turns the checks red; `HYPOTHESIS_PROFILE=search` looks for new ones.
settings.register_profile("slipway", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "slipway"))


@pytest.fixture(params=["compiled", "interpreted"])
def each_receiver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The measuring client in C and in Python; its processes, where it starts some, take what is there."""
    from slipway.measure import compiled  # brings NumPy

    if request.param == "interpreted":
        monkeypatch.setattr(compiled, "load", lambda _path: None)
    else:
        assert compiled.load(compiled.LIBRARY), "install a C compiler (Debian: gcc, libc6-dev), then `make setup`"
    return str(request.param)

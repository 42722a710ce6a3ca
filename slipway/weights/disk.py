"""Trouble of the disk under a weights job, told as what to change: a full volume, one that cannot be written."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, TypeVar

from slipway.errors import Misconfigured
from slipway.platforms.port import JobContext

DISK_ERRORS: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
)
"""Troubles of the disk that files are written to, not of the Hub."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Job = Callable[Concatenate[JobContext, Arguments], Result]


def disk_trouble_told(job: Job[Arguments, Result]) -> Job[Arguments, Result]:
    """The same job, which ends as `Misconfigured` where the volume does not let it write."""

    @functools.wraps(job)
    def told(context: JobContext, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return job(context, *args, **kwargs)
        except OSError as error:
            if error.errno in _FULL:
                raise Misconfigured(
                    "The weights volume is full.",
                    remedy="Make room, or use a larger volume; what is whole was kept.",
                ) from error
            if error.errno in DISK_ERRORS:
                raise Misconfigured(
                    f"The weights volume cannot be written: {error}.",
                    remedy="Mount it for writing, and check its owner, mode and health.",
                ) from error
            raise

    return told

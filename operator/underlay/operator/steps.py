"""Crash points of the warm pool."""

from enum import StrEnum


class WarmStep(StrEnum):
    """Every point before and after an effect of a round; tests stop the operator at each.

    ``SENDING`` and ``ANSWERED`` are said per API operation of the cloud (``warm.sending:AttachNetworkInterface``).
    """

    NETWORK_OPENING = "warm.network-opening"
    NETWORK_OPENED = "warm.network-opened"
    INTENDING = "warm.intending"
    INTENDED = "warm.intended"
    SENDING = "warm.sending"
    ANSWERED = "warm.answered"
    CALLED = "warm.called"
    RECORDED = "warm.recorded"
    POOL_WRITING = "warm.pool-writing"
    POOL_CREATED = "warm.pool-created"
    POOL_CONFIRMED = "warm.pool-confirmed"
    POOL_RESHAPED = "warm.pool-reshaped"
    POOL_DELETED = "warm.pool-deleted"
    RELEASE_ASKING = "warm.release-asking"
    RELEASE_ASKED = "warm.release-asked"
    RELEASE_SHRINKING = "warm.release-shrinking"
    RELEASE_SHRUNK = "warm.release-shrunk"
    RELEASE_UNASSIGNED = "warm.release-unassigned"
    RELEASE_CLOSED = "warm.release-closed"
    RELEASE_FORGOTTEN = "warm.release-forgotten"
    FAREWELL_POOLS_DELETED = "warm.farewell-pools-deleted"
    FAREWELL_DONE = "warm.farewell-done"


class FixedStep(StrEnum):
    """Every point before and after an effect for a fixed address, beside ``WarmStep.INTENDING`` and ``RECORDED``."""

    BLOCK_WRITING = "fixed.block-writing"
    BLOCK_WRITTEN = "fixed.block-written"
    SAYING = "fixed.saying"
    SAID = "fixed.said"
    INTENDED = "fixed.intended"
    CALLED = "fixed.called"

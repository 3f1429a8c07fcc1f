"""What a provider can be asked for, as cases of tests: what the product serves, so that a new mode joins by itself."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import msgspec
import pytest
from _pytest.mark import ParameterSet

from underlay.core.api.networkprovider import SpiderNetworkProviderSpec
from underlay.core.errors import InvalidInput
from underlay.operator.reconcile import support
from underlay.providers.aws.driver import AwsDriver


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """``whole``: addresses come in prefixes, so that a node may have more than it aims at.

    ``few`` pods fit on the first interface of a machine of type ``small``, ``many`` need every interface it may have.
    """

    name: str
    addresses: Mapping[str, object]
    whole: bool = False
    small: str = "t3.medium"
    few: int = 3
    many: int = 8

    @property
    def ipv6(self) -> bool:
        return "ipv6" in str(self.addresses.get("families"))

    @property
    def each(self) -> int:
        """How many addresses a pod has."""
        return 2 if self.name == "dual" else 1

    @property
    def roomy(self) -> "Mode":
        """The same where pools grow: an interface of a t3.nano has room for one prefix, each of a t3a.small's two has
        for three.
        """
        return replace(self, small="t3a.small", many=49) if self.whole else self

    def __str__(self) -> str:
        return self.name


KNOWN = (
    Mode(name="secondary", addresses={"mode": "secondaryIP"}),
    Mode(name="prefix", addresses={"mode": "prefix"}, whole=True, small="t3.nano", few=3, many=20),
    Mode(name="auto", addresses={"mode": "auto"}, whole=True, small="t3.nano", few=3, many=20),
    Mode(name="ipv6", addresses={"mode": "secondaryIP", "families": ["ipv6"]}, many=11),
    Mode(name="dual", addresses={"mode": "secondaryIP", "families": ["ipv4", "ipv6"]}),
)


def _served(mode: Mode) -> bool:
    spec = msgspec.convert({"driver": "aws", "addresses": dict(mode.addresses)}, SpiderNetworkProviderSpec)
    try:
        support.check(spec)
        support.check_driver(spec, AwsDriver.name, AwsDriver.capabilities)
    except InvalidInput:
        return False
    return True


MODES = tuple(mode for mode in KNOWN if _served(mode))
"""Those that a provider may be given today."""
IPV4 = tuple(mode for mode in MODES if not mode.ipv6)


def cases(*often: str, of: Collection[Mode] = MODES) -> list[ParameterSet]:
    """One for each mode; those not named ``often`` are left to the long counts."""
    return [pytest.param(mode, id=mode.name, marks=() if mode.name in often else (pytest.mark.soak,)) for mode in of]

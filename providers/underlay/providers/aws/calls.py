"""EC2's API as awaitable calls: each goes through the gate, one of its operation's few threads and the error
table.

``RATES`` is also the list of everything the driver may call: an operation that is not there cannot be called, and
docs/aws.md publishes the same list as the policy to grant. What signs the calls is in ``credentials``.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from botocore.session import Session

from underlay.core.cloud.errors import Denied
from underlay.core.cloud.limits import CallGate, Rate
from underlay.core.cloud.registry import ProviderSettings
from underlay.core.errors import InvalidInput
from underlay.core.runtime.aio import offload
from underlay.core.runtime.sharing import Batch
from underlay.providers.aws import convert, credentials, errors
from underlay.providers.aws.credentials import Identity
from underlay.providers.aws.sessions import new_session

# Published in the EC2 developer guide, "Request throttling for the Amazon EC2 API".
_READ = Rate(burst=100, refill_per_second=20)
_RESOURCE_WRITE = Rate(burst=100, refill_per_second=5)
_OTHER_WRITE = Rate(burst=50, refill_per_second=5)

RATES: Mapping[str, Rate] = {
    "AssignIpv6Addresses": _RESOURCE_WRITE,
    "AssignPrivateIpAddresses": _RESOURCE_WRITE,
    "AttachNetworkInterface": _OTHER_WRITE,
    "CreateNetworkInterface": _RESOURCE_WRITE,
    "CreateSubnetCidrReservation": Rate(burst=5, refill_per_second=1),
    "CreateTags": Rate(burst=100, refill_per_second=10),
    "DeleteNetworkInterface": _RESOURCE_WRITE,
    "DeleteSubnetCidrReservation": _OTHER_WRITE,
    "DescribeInstanceTypes": _READ,
    "DescribeInstances": _READ,
    "DescribeNetworkInterfaces": _READ,
    "DescribeRouteTables": _READ,
    "DescribeSecurityGroups": _READ,
    "DescribeSubnets": _READ,
    "DetachNetworkInterface": _OTHER_WRITE,
    "GetSubnetCidrReservations": _READ,
    "ModifyNetworkInterfaceAttribute": _RESOURCE_WRITE,
    "UnassignIpv6Addresses": _OTHER_WRITE,
    "UnassignPrivateIpAddresses": _RESOURCE_WRITE,
}

_THREADS = 8
_CONNECTIONS = 32
_CONNECT_SECONDS = 5
_READ_SECONDS = 20
_PAGE = 1000
FILTER_VALUES = 200
"""A filter takes no more values (EC2 API, Filter)."""
# Changes take EC2 seconds: looking at all of them twice a second loses nothing, and costs a tenth of the bucket.
_LOOKS_APART_SECONDS = 0.5
_BURST_SPARED = 0.04

R = TypeVar("R", bound=msgspec.Struct)
P = TypeVar("P", bound=convert.Page)


class Ec2:
    """One account and region."""

    def __init__(self, settings: ProviderSettings, *, page_size: int = _PAGE) -> None:
        self._page_size = page_size
        self._gate: CallGate = settings.gate
        spared = {operation: _spared(rate) for operation, rate in RATES.items()}
        spared[credentials.OPERATION] = credentials.RATE
        self._gate.publish(errors.PROVIDER, spared, otherwise=_spared(_OTHER_WRITE))
        self._name = settings.name
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._single_enis = Batch(
            self._enis_by_id, clock=self._gate.clock, gap_seconds=_LOOKS_APART_SECONDS, most=FILTER_VALUES
        )
        session = new_session(settings.region)
        region = _region(session)
        self._identity = Identity(settings, region=region, pool=self._threads_of(credentials.OPERATION))
        self._identity.sign(session)
        self._client = _client(settings, session)
        self._closed = False

    async def call(self, operation: str, reply: type[R], **parameters: object) -> R:
        """Sends one request. Raises ``cloud.errors`` only."""
        mutating = not operation.startswith(("Describe", "Get"))
        method = getattr(self._client, xform_name(operation))

        async def once() -> R:
            used = self._identity.current
            try:
                answer = await send()
            except Denied as error:
                # Refused credentials stop a request before anything is done: with others it may be sent again.
                if not (errors.are_credentials_refused(error) and await self._identity.renewed(used)):
                    raise
                used = self._identity.current
                answer = await send()
            self._identity.accepted(used)
            return answer

        async def send() -> R:
            if self._closed:
                raise errors.closed(operation)
            try:
                answer = await offload(partial(method, **parameters), pool=self._threads_of(operation))
            except (BotoCoreError, ClientError, ResponseParserError) as error:
                hint = self._identity.hint
                raise errors.translate(error, operation=operation, mutating=mutating, hint=hint) from error
            try:
                return convert.parse(answer, reply)
            except msgspec.ValidationError as error:
                raise errors.malformed(error, operation=operation, mutating=mutating) from error

        if operation not in RATES:
            raise LookupError(f"{operation} is not among the calls the driver declares")
        if self._closed:
            raise errors.closed(operation)
        await self._identity.ready()
        return await self._gate.call(operation, once, mutating=mutating)

    async def pages(
        self,
        operation: str,
        page: type[P],
        filters: Mapping[str, Sequence[str]],
        *,
        page_size: int | None = None,
        **parameters: object,
    ) -> list[P]:
        """All pages of a list by filters (never by ids: one unknown id would fail the whole)."""
        asked = {"MaxResults": page_size or self._page_size, **parameters}
        if filters:
            asked["Filters"] = [{"Name": name, "Values": list(values)} for name, values in filters.items()]
        pages: list[P] = []
        following: dict[str, str] = {}
        while True:
            pages.append(await self.call(operation, page, **asked, **following))
            if not pages[-1].next_token:
                return pages
            following = {"NextToken": pages[-1].next_token}

    async def enis(self, filters: Mapping[str, Sequence[str]]) -> list[convert.Eni]:
        """Interfaces by filters."""
        pages = await self.pages("DescribeNetworkInterfaces", convert.EniPage, filters)
        return [eni for page in pages for eni in page.network_interfaces]

    async def eni(self, interface: str) -> convert.Eni:
        """One interface, by a read that begins now or soon and is shared with whoever else looks at one: however many
        are being changed, they cost one read per round. ``NotFound``: gone, or too new for this read to know it.
        """
        if (found := await self._single_enis.get(interface)) is not None:
            return found
        code = "InvalidNetworkInterfaceID.NotFound"
        raise errors.not_found("DescribeNetworkInterfaces", code, f"{interface} does not exist")

    async def close(self) -> None:
        """Ends idle connections and threads; a call already sent keeps its thread until it is answered."""
        self._closed = True
        self._identity.close()
        # Queued calls still run: cancelling them would look to their callers like their own cancellation.
        for pool in self._pools.values():
            pool.shutdown(wait=False)
        self._client.close()

    def _threads_of(self, operation: str) -> ThreadPoolExecutor:
        """A few for each operation, so that one which hangs does not hold up the others."""
        if operation not in self._pools:
            self._pools[operation] = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"aws-{self._name}-{operation}")
        return self._pools[operation]

    async def _enis_by_id(self, ids: Sequence[str]) -> dict[str, convert.Eni]:
        """By filter: EC2 counts reads by id alone as unfiltered, whose bucket is half as large."""
        return {eni.network_interface_id: eni for eni in await self.enis({"network-interface-id": ids})}


def _spared(rate: Rate) -> Rate:
    """EC2's bucket counts from when the first call arrives, ours from when it leaves, so that it may hold a token or
    two less than we think; a throttled call costs more time than a small part of the burst.
    """
    return Rate(burst=rate.burst * (1 - _BURST_SPARED), refill_per_second=rate.refill_per_second)


def _client(settings: ProviderSettings, session: Session) -> Any:  # noqa: ANN401 (the SDK makes its methods at run time)
    return session.create_client(
        "ec2",
        endpoint_url=settings.endpoint or None,
        config=Config(
            # The gate retries; the SDK's own retries would pass by its buckets and lease check, and would repeat writes
            # whose reply was lost. (``max_attempts`` counts without the first: 1 would be one retry.)
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=_CONNECTIONS,
            user_agent_extra="underlay",
        ),
    )


def _region(session: Session) -> str:
    if found := session.get_config_variable("region"):
        return str(found)
    raise InvalidInput("spec.region", found="", expected="an AWS region such as eu-central-1")

"""Which pod a call is for. Normally from the copy that the journal keeps; one live read for a pod that is quicker
than its watch event.
"""

import asyncio

from underlay.cni.book import Book
from underlay.cni.errors import CniError, Code
from underlay.cni.protocol import PodArguments
from underlay.cni.records import BoundPod, PodBound
from underlay.cni.watch import bound_pod
from underlay.core.api.kubernetes import Pod
from underlay.core.identity import PodRef
from underlay.core.kube.client import KubeClient
from underlay.core.kube.errors import KubeError, NotFound

_LIVE_READ_SECONDS = 3.0


class Pods:
    """The living pods of this node."""

    def __init__(self, *, node_name: str, book: Book, client: KubeClient) -> None:
        self._node_name = node_name
        self._book = book
        self._client = client

    async def find(self, wanted: PodArguments) -> PodRef:
        """The pod a runtime names. Raises ``CniError``: code 4 when it names none, 11 when it is not (yet, any
        more) one of this node.
        """
        if missing := [
            key for key, value in (("K8S_POD_NAMESPACE", wanted.namespace), ("K8S_POD_NAME", wanted.name)) if not value
        ]:
            raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_ARGS: {' and '.join(missing)} missing, no pod is named")
        known = self._book.state.pods.get((wanted.namespace, wanted.name))
        if known and _is(known, wanted):
            return known.ref
        found = bound_pod(await self._read(wanted), self._node_name)
        if found is None:
            raise CniError(
                Code.TRY_AGAIN,
                f"pod {wanted.namespace}/{wanted.name} needs no address here: "
                f"it has ended, uses the host's network, or is not bound to node {self._node_name}",
            )
        if not _is(found, wanted):
            raise CniError(
                Code.TRY_AGAIN,
                f"pod {found.ref} has uid {found.ref.uid}; CNI_ARGS K8S_POD_UID is {wanted.uid}: an earlier pod",
            )
        self._book.record(PodBound(pod=found))
        return found.ref

    async def _read(self, wanted: PodArguments) -> Pod:
        where = f"{wanted.namespace}/{wanted.name}"
        try:
            async with asyncio.timeout(_LIVE_READ_SECONDS):
                return await self._client.get(Pod, wanted.name, wanted.namespace)
        except NotFound:
            raise CniError(Code.TRY_AGAIN, f"pod {where} does not exist") from None
        except (KubeError, TimeoutError) as failed:
            raise CniError(
                Code.TRY_AGAIN,
                f"pod {where} is not known on node {self._node_name} and the API server cannot be asked: {failed}",
            ) from failed


def _is(pod: BoundPod, wanted: PodArguments) -> bool:
    return not wanted.uid or wanted.uid in {pod.ref.uid, pod.static_uid}

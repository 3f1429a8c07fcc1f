"""The Secret that a SpiderNetworkProvider names, read live: the operator may get Secrets, not list or watch them."""

from collections.abc import Mapping

from underlay.core.api.kubernetes import Secret
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.operator.reconcile.advice import SecretUnreadable


async def read(client: KubeClient, provider: SpiderNetworkProvider) -> Mapping[str, str] | None:
    """Its content; None: the provider names none. Raises ``SecretUnreadable``."""
    reference = provider.spec.credentials_secret_ref
    if reference is None:
        return None
    named = f"{reference.namespace}/{reference.name}"
    try:
        secret = await client.get(Secret, reference.name, reference.namespace)
    except kube_errors.NotFound as error:
        raise SecretUnreadable(named, "it does not exist") from error
    except kube_errors.KubeError as error:
        raise SecretUnreadable(named, str(error)) from error
    if not secret.data:
        raise SecretUnreadable(named, "it has no data; the driver's credential keys are expected")
    try:
        return {key: value.decode().strip() for key, value in secret.data.items()}
    except UnicodeDecodeError:
        # Its text would quote what it could not decode.
        raise SecretUnreadable(named, "a value is no text") from None

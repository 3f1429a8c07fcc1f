"""Where the kinds that CustomResourceDefinitions define are served."""

from collections.abc import Sequence

import msgspec

PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class _Names(msgspec.Struct, frozen=True):
    plural: str


class _Version(msgspec.Struct, frozen=True):
    name: str
    served: bool


class _Definition(msgspec.Struct, frozen=True):
    group: str
    names: _Names
    versions: tuple[_Version, ...]


class _Crd(msgspec.Struct, frozen=True):
    spec: _Definition


class _CrdList(msgspec.Struct, frozen=True):
    items: tuple[_Crd, ...]


def served_paths(listed: str) -> Sequence[str]:
    """Where the kinds of a CustomResourceDefinitionList (as JSON) are served once they are established."""
    specs = [crd.spec for crd in msgspec.json.decode(listed, type=_CrdList).items]
    return [
        f"/apis/{spec.group}/{version.name}/{spec.names.plural}"
        for spec in specs
        for version in spec.versions
        if version.served
    ]

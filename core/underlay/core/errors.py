"""Root of the error tree.

    UnderlayError
    ├── InvalidInput            a value from outside is wrong: names the field, what was found, what was expected
    ├── core.kube.errors.*      the API server refused or could not be reached
    ├── core.cloud.errors.*     a cloud refused or could not be reached, named by what the caller does next
    └── cni.errors.*            a CNI call failed, carries the CNI error code

Classes are named by what the caller does next; each carries, as attributes and in its text, all a person needs.
"""


class UnderlayError(Exception):
    """Anything Underlay raises on purpose."""


class InvalidInput(UnderlayError):
    """A value from outside (annotation, CNI configuration, file, cloud reply) cannot be used.

    ``field`` is the path a person would look for (``spec.addresses.batch``, ``CNI_IFNAME``).
    """

    def __init__(self, field: str, *, found: object, expected: str) -> None:
        self.field = field
        self.found = found
        self.expected = expected
        super().__init__(f"{field}: found {found!r}, expected {expected}")

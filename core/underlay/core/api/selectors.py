"""Label selectors (metav1.LabelSelector). Pure."""

from collections.abc import Mapping

from underlay.core.api.meta import LabelSelector


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """metav1.LabelSelector semantics; the empty selector selects everything, an unknown operator nothing."""
    if any(labels.get(key) != value for key, value in (selector.match_labels or {}).items()):
        return False
    for requirement in selector.match_expressions or []:
        present, value = requirement.key in labels, labels.get(requirement.key)
        fits = {
            "In": present and value in (requirement.values or []),
            "NotIn": not present or value not in (requirement.values or []),
            "Exists": present,
            "DoesNotExist": not present,
        }
        if not fits.get(requirement.operator, False):
            return False
    return True

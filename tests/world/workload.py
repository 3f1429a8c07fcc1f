"""What a user of the cluster applies: a Deployment and its Service, and single pods. Pure."""

from typing import Any

Json = dict[str, Any]

APP = "hello"
PORT = 80


def deployment(replicas: int) -> Json:
    """Pods that answer port 80 with their name (see ``world.runner``), spread evenly over the nodes."""
    labels = {"app": APP}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": _containers(),
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "DoNotSchedule",
                            "labelSelector": {"matchLabels": labels},
                        }
                    ],
                },
            },
        },
    }


def service(name: str, *, selector: dict[str, str]) -> Json:
    """A ClusterIP Service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": PORT, "targetPort": PORT}]},
    }


def pod(name: str, *, node: str, annotations: dict[str, str]) -> Json:
    """A pod for one node, through the scheduler."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations, "labels": {"app": name}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 1,
            "containers": _containers(),
        },
    }


def _containers() -> list[Json]:
    return [{"name": "web", "image": "busybox", "ports": [{"containerPort": PORT}]}]

"""Pods that nobody made: 150,000 of them, as they look in a cluster at work, evenly on its nodes. Pure.

Each is what an API server would send of one container of a Deployment's pod, managed fields and all (about 5 KB).
"""

from dataclasses import dataclass

import msgspec

_PODS_PER_WORKLOAD = 50
_WORKLOADS_PER_NAMESPACE = 30
_SPREAD = 7919
"""Prime, so that consecutive pods of a workload are on different nodes and each node gets as many."""
_MARKS = ("NAME", "NAMESPACE", "UID", "VERSION", "WORKLOAD", "NODE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """``pods`` on ``nodes``, whose names are ``node-<number>``."""

    pods: int
    nodes: int

    def name(self, number: int) -> str:
        """Of a pod."""
        return f"web-{number // _PODS_PER_WORKLOAD}-7c9d8b6f5d-{number:05x}"

    def namespace(self, number: int) -> str:
        """A team's."""
        return f"team-{number // _PODS_PER_WORKLOAD // _WORKLOADS_PER_NAMESPACE}"

    def uid(self, number: int) -> str:
        """As long as all UIDs."""
        return f"0f3b7c2e-5d1a-4b7e-9c55-{number:012x}"

    def node(self, number: int) -> str:
        """Where it runs."""
        return f"node-{number * _SPREAD % self.nodes}"

    def of_node(self, node: int) -> list[int]:
        """The pods of one node."""
        first = node * pow(_SPREAD, -1, self.nodes) % self.nodes
        return list(range(first, self.pods, self.nodes))

    def page(self, start: int, limit: int) -> bytes:
        """A PodList from pod ``start`` on, with the token of the next page; ``limit`` 0: all the rest."""
        end = min(start + limit, self.pods) if limit else self.pods
        meta = {"resourceVersion": VERSION} | ({"continue": str(end)} if end < self.pods else {})
        head = msgspec.json.encode({"kind": "PodList", "apiVersion": "v1", "metadata": meta})[:-1]
        return head + b',"items":[' + b",".join(self._pod(number) for number in range(start, end)) + b"]}"

    def _pod(self, number: int) -> bytes:
        workload = f"web-{number // _PODS_PER_WORKLOAD}"
        values = {
            "NAME": self.name(number),
            "NAMESPACE": self.namespace(number),
            "UID": self.uid(number),
            "VERSION": str(1_000_000 + number),
            "WORKLOAD": workload,
            "NODE": self.node(number),
        }
        return b"".join(part if index % 2 == 0 else values[part.decode()].encode() for index, part in _PARTS)


VERSION = "2000000"
"""The version of all lists; nothing happens after it."""


def _template() -> dict[str, object]:
    mark = {name: f"\0{name}\0" for name in _MARKS}
    labels = {
        "app.kubernetes.io/name": mark["WORKLOAD"],
        "app.kubernetes.io/instance": mark["WORKLOAD"],
        "app.kubernetes.io/version": "1.27.3",
        "pod-template-hash": "7c9d8b6f5d",
        "team": mark["NAMESPACE"],
    }
    variable = {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}
    probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1}
    token = {"name": "kube-api-access-x7x7x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    container = {
        "name": "web",
        "image": "registry.example/team/web:1.27.3",
        "env": [{**variable, "name": f"SETTING_{number}"} for number in range(8)],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [token, {"name": "settings", "mountPath": "/etc/web"}],
        "livenessProbe": probe,
        "readinessProbe": probe,
        "imagePullPolicy": "IfNotPresent",
    }
    then = "2026-01-02T03:04:05Z"
    conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    managed: dict[str, object] = {f"f:field{number}": {".": {}, "f:value": {}} for number in range(30)}
    return {
        "metadata": {
            "name": mark["NAME"],
            "generateName": f"{mark['WORKLOAD']}-7c9d8b6f5d-",
            "namespace": mark["NAMESPACE"],
            "uid": mark["UID"],
            "resourceVersion": mark["VERSION"],
            "generation": 1,
            "creationTimestamp": then,
            "labels": labels,
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "8080",
                "checksum/config": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": f"{mark['WORKLOAD']}-7c9d8b6f5d",
                    "uid": "5f0c1d2e-0000-4b7e-9c55-000000000001",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [
                {
                    "manager": manager,
                    "operation": "Update",
                    "apiVersion": "v1",
                    "time": then,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:metadata": managed},
                }
                for manager in ("kube-controller-manager", "kubelet")
            ],
        },
        "spec": {
            "volumes": [{"name": "settings", "configMap": {"name": mark["WORKLOAD"], "defaultMode": 420}}],
            "containers": [container],
            "restartPolicy": "Always",
            "nodeName": mark["NODE"],
            "serviceAccountName": "default",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": name, "status": "True", "lastTransitionTime": then} for name in conditions],
            "hostIP": "10.0.0.1",
            "podIP": "10.0.0.2",
            "podIPs": [{"ip": "10.0.0.2"}],
            "startTime": then,
            "containerStatuses": [
                {
                    "name": "web",
                    "state": {"running": {"startedAt": then}},
                    "ready": True,
                    "restartCount": 0,
                    "image": "registry.example/team/web:1.27.3",
                    "imageID": f"registry.example/team/web@sha256:{'ab' * 32}",
                    "containerID": f"containerd://{'cd' * 32}",
                    "started": True,
                }
            ],
            "qosClass": "Burstable",
        },
    }


_PARTS = tuple(enumerate(msgspec.json.encode(_template()).split(b"\\u0000")))

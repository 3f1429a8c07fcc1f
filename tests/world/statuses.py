"""What a kubelet writes: Node, Lease, and the status of a pod that runs. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from world.node import NodeSpec

Json = dict[str, Any]


def node(spec: NodeSpec, *, pods: int, now: str) -> Json:
    """A node as the kubelet of an EC2 instance registers it, Ready."""
    resources = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "100Gi", "pods": str(pods)}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the runner plays kubelet"}
    pressures = [
        {"type": name, "status": "False", "reason": "KubeletHasSufficient", "message": ""}
        for name in ("MemoryPressure", "DiskPressure", "PIDPressure")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": spec.name,
            "labels": {
                "kubernetes.io/hostname": spec.name,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": spec.instance_type,
                "topology.kubernetes.io/zone": spec.zone,
            },
        },
        "spec": {"providerID": spec.provider_id},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [
                {"type": "InternalIP", "address": spec.address},
                {"type": "Hostname", "address": spec.name},
            ],
            "conditions": [
                condition | {"lastHeartbeatTime": now, "lastTransitionTime": now} for condition in (*pressures, ready)
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "netns://1",
                "kernelVersion": "",
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.34.4",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "a network namespace",
                "systemUUID": "",
            },
        },
    }


def lease(name: str, *, now: str) -> Json:
    """A node's heartbeat; the controller-manager wants one every 40 s."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now},
    }


def running(pod: Mapping[str, Any], *, addresses: Sequence[str], host: str, now: str) -> Json:
    """The status of ``pod`` with all its containers running and ready."""
    conditions = [
        {"type": name, "status": "True", "lastTransitionTime": now}
        for name in ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
    ]
    return {
        "status": {
            "phase": "Running",
            "hostIP": host,
            "hostIPs": [{"ip": host}],
            "podIP": addresses[0],
            "podIPs": [{"ip": address} for address in addresses],
            "startTime": now,
            "conditions": conditions,
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container.get("image", ""),
                    "imageID": "",
                    "ready": True,
                    "started": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": now}},
                }
                for container in pod["spec"].get("containers", [])
            ],
        }
    }

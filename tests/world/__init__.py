"""A whole small cluster on one machine: real control plane, simulated cloud, nodes as network namespaces.

    __main__    ``python -m world demo | up | down``
    story       the demo: one scene after another, each with what must hold; scenes, view
    world       puts the parts together and takes them down
    node        one node: namespace, management link, instance at the cloud, agent, kube-proxy
    runner      plays kubelet (a process of its own): pods → sandboxes through cnitool → pod status
    record      what a world consists of, on disk, so that nothing is left behind whatever ends it
    names       how its namespaces and links are called
    inside      sockets in other network namespaces; pings and forged frames over them
    api, cloud  thin HTTP clients of the API server, and of simulator and fabric

Everything a world makes bears its name, and only that is ever removed: several worlds stand side by side.
"""

"""Hours of an operator's life in minutes: thousands of cloud calls, hundreds of faults, and all readings must agree.

    decks      which faults strike which operations, shuffled by the seed, and how many did
    stage      control plane, cloud, fabric; what is removed at the end
    ground     providers, their subnets, blocks and security groups
    hands      what people do at the cloud by hand
    owners     pods that keep their address wherever they start, blocks that are kept for that
    machines   real nodes: kernel namespaces, the agent's process, a kubelet that calls the launcher by libcni
    operators  two replicas of the operator, killed, stopped and waked
    story      what people and workloads do meanwhile: pods, nodes, interfaces detached by hand
    test_soak  one run, short or long, and what must hold at its end

The seed decides what is done and what strikes; when exactly it does is the machine's.
"""

"""How long CNI calls take: Underlay beside Debian's reference plugins, on one node, in one run.

    __main__    ``python -m bench`` (CNI calls), ``python -m bench datapath`` (the kernel's part alone)
    cni         what is measured, in which order; the subjects take turns, so that the machine's moods meet all
    ├── site        one node with all that stands round it: control plane, cloud, operator, agent
    ├── sandboxes   pods' network namespaces, made before and removed after the measuring
    ├── subjects    who is measured: plugin lists as a runtime has them        (pure)
    ├── driver      a process in the node's network that plays libcni: executes plugins and takes the time
    ├── usage       CPU time and memory of processes
    ├── figures     samples → named numbers                                    (pure)
    └── table       named numbers → what a person reads
    datapath    attach and detach in a loop: one batch per namespace, or one message per send

Nothing here is asserted by time: a figure is compared with another figure of the same run, if at all.
"""

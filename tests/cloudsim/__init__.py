"""A simulator of a cloud's network API, strict where clouds are strict: ``python -m cloudsim``.

It knows nothing of Underlay.

model/    what an EC2 account holds and what may be done with it: state machines over an injected clock, no I/O
wire/     EC2's query protocol: form parameters in, XML out
server/   HTTP: authentication, throttling, faults, the control API, the metadata service, the link to the fabric
fabric/   the network under the instances, a process of its own
"""

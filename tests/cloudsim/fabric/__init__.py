"""The simulated VPC: what a cloud's network does with the frames of its instances, in one network namespace of its own.

    model       pure: interfaces → routes, neighbours and allowed senders; the difference of two such views as ip and
                nft commands
    neighbours  pure: which solicitations of IPv6 are answered, and how; responder: the socket
    vpc         the namespace: executes those commands, counts what was dropped
    server      the HTTP interface by which the simulator drives it

It runs as a process of its own (``python -m cloudsim.fabric``), so that instances may live in another machine's
kernel than the simulator. Like a cloud it answers ARP and neighbour solicitations itself, for addresses that exist and
no others, delivers no broadcast and no multicast, and drops every frame whose sender (MAC and address) is not assigned
to the interface it came from.
"""

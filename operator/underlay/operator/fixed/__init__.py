"""Fixed addresses: claimed at binding, brought to the pod's node, taken from a node only with its word or with proof.

blocks    who has which
pools     the pools, and the listing in a SpiderNodeNetwork
reserved  pools of the blocks that providers keep for fixed addresses
standing  what is known of the place an address is at: pod, node, agent, machine
calls     the cloud
strays    addresses of such pools that the cloud gave to a node by its own choice
steps     the next write there, in the words of a node's plan
orders    what the node's agent is told
rounds    a node's round
upkeep    owners that are gone, and what pools say
wiring    all of it for the warm pool
"""

"""Who may have which address. Pure: values in, values out.

claims     what a node has given out, freed and fenced: the ledger a journal is replayed into
allocate   (pools, ledger, request, now) → Assigned | Shortage with the reason per pool
ownership  who keeps an address from pod to pod, and the proof that lets it leave a node
blocks     SpiderIPBlocks: claim, hand over, cool, forget, and which address to claim
"""

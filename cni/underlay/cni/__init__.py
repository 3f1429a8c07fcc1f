"""What runs on the node: the agent that serves every CNI call, and the launcher a runtime executes.

    runtime → launcher (C) → server ─▶ verbs ─▶ nodepools ─▶ book (state + journal on disk)
                                        │                     ▲
                                        ▼                     │
                                     datapath      watch ─────┘◀── API server
                                                   reports ───────▶ (pool and node status, endpoints; off the path)

``fixed`` says which pod waits for the operator's word on a fixed address, ``blockuse`` tells the SpiderIPBlock of the
sandbox that has it; ``podqueue`` has this and endpoints written while no call is under way.

``links`` and ``routers`` keep what of the kernel decides which pools serve: links that are up, and each one's IPv6
router. The agent calls no cloud and holds no key. It agrees with the operator through objects alone
(core.api.nodenetwork).
"""

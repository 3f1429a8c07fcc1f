"""What runs on the node: the agent that serves every CNI call, and the launcher a runtime executes.

    runtime → launcher (C) → server ─▶ verbs ─▶ nodepools ─▶ book (state + journal on disk)
                                        │                     ▲
                                        ▼                     │
                                     datapath      watch ─────┘◀── API server
                                                   reports ───────▶ (pool and node status, endpoints; off the path)

``links`` and ``routers`` keep what of the kernel decides which pools serve: links that are up, and each one's IPv6
router. The agent calls no cloud and holds no key. It agrees with the operator through objects alone
(core.api.nodenetwork).
"""

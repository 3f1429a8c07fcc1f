"""The node's datapath as data: a wish becomes a plan, a plan becomes steps, steps become one batch per namespace.

shell            class Datapath: attach, detach, forget, inspect, links, router, prepare_master
├── calls          what goes in and out                         (pure)
├── attaching      one attachment: batches, undo, explain
│   ├── attach       wish + facts + numbers → plan              (pure)
│   │   ├── macvlan, ipvlan   the slave                         (pure)
│   │   └── coordinator       veth0 and the way to the host     (pure)
│   ├── plan         plan → steps, difference, inverse          (pure)
│   └── batches      which step goes where                      (pure)
├── detaching      one detachment; reaper: the links it left; forgetting: what others know of it
├── hosting        the host itself, and its masters
├── tables         the host's nft tables, put back when a firewall flushes them
│   └── withholding, egress   what keeps pods from metadata: nft, tc where nft cannot   (pure)
├── routers        the IPv6 router of a master: the kernel's own, or asked for
│   └── solicitation  question and answer as bytes              (pure)
├── wire           steps → bytes                                (pure)
├── channel        one send, one answer; lookup: one link by name; nft: the two tables
├── netlink        reading the kernel back (pyroute2)
├── namespaces     threads and setns
└── model          links, addresses, routes, … as frozen values (pure)
"""

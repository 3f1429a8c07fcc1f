"""What runs once per cluster: turns what each node has at its cloud into SpiderIPPools, sized by demand.

main        wires the process: settings → client → Lease → reflectors, kopf, warm pool
handlers    kopf handlers for what people write; no decisions
gate        the gate to a cloud: crash points round each write, what is not permitted or held back
metrics     what is counted, and its export
providers   SpiderNetworkProviders, each with its loaded driver, its subnets and what is wrong with it
credentials a provider's Secret, read live
warmpool    the shell round core.cloud: one task per dirty node; snapshot → plan → act → status
memories    what is remembered of each node between rounds
troubles    what keeps a node from having what it should, told to people
lanes       how many cloud writes of one kind are under way, and whose turn is next
podkeeper   what is kept of 150,000 pods
adoption    what a node had before Underlay: left alone or taken over
endings     interfaces end with their machine
groups      security groups of interfaces: found, and given again when they change
reservations  blocks of subnets that the cloud keeps for a use
fixed       addresses that pods keep: claimed, brought to the pod's node, let go
farewell    what is left of a machine that has gone
reconcile   pure: objects → writes
"""

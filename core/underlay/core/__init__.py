"""The neutral heart of Underlay: what agent, operator and drivers share.

errors      root of the error tree
addresses   ranges and sets of addresses (pure)
identity    the keys everything is indexed by (pure)
api         Kubernetes kinds as values (pure)
ipam        who gets which address (pure)
cloud       the provider seam: model, planning (pure), limits
kube        the only package that speaks to the API server
runtime     process plumbing: settings, logs, metrics, tasks, clock
"""

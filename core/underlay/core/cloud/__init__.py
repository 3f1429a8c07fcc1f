"""The provider seam.

model    what a cloud has, as values (pure)
driver   the verbs of a provider and their retry contract
errors   what went wrong, named by what the caller does next
items    addresses and prefixes, and the pod addresses in them (pure)
tags     by which an interface shows whose it is (pure)
settle   what is believed of an instance, between own writes and lagging reads (pure)
planning observed, demand, limits → the cheapest calls, in order (pure)
intents  what is written before a call and how its outcome is found again (pure)
limits   breaker, token buckets and the one retry policy, round each API operation
breaker  normal → no release → no calls, by what is heard of a cloud in trouble (pure)
registry a driver by name, from entry points
"""

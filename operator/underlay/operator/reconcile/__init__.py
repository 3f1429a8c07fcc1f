"""Decisions of the operator, pure: values in, values out.

advice    what went wrong → a reason and what a person does next
demand    pods, pools → how many addresses a node needs
subnets   which subnets a new interface may be made in, best first
egress    subnets whose pods do not reach the internet, for a provider's condition
groups    security groups an interface should have → interfaces that have others
reservations  blocks a provider wants kept → what is made and dropped
pools     interfaces of a node → its SpiderIPPools
fences    releases under way → what may be taken out of pools, unassigned, reported done
outlook   demands and subnets of a provider → how many more pods can start
retiring  a node that its provider no longer serves → what is kept, when nothing is left
collect   interfaces nobody claims → which of them may be deleted
status    what is known of a node → the operator's part of its SpiderNodeNetwork
"""

"""What accounts hold, without wire or network.

errors.py          Refused: a code and a text, as EC2 gives them
table.py           versioned tables, so that reads can lag behind writes
cloud.py           all tables of one account; the clock, chance and names that accounts share
vpcs.py subnets.py reservations.py routes.py security_groups.py
                   the network, one noun each: its record and the operations on it
instance_types.py instances.py interfaces.py attachments.py trunks.py tags.py
                   what lives in it, likewise
addresses.py ipv6.py slots.py
                   addresses and prefixes of an interface, and how many it may have
bitmap.py space6.py
                   which addresses of a subnet are taken, and which are chosen next
tokens.py          what was answered to which client token

An operation either refuses (``Refused``, nothing changed) or commits whole.
"""

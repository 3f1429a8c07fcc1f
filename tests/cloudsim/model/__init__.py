"""What an account holds, without wire or network.

errors.py          Refused: a code and a text, as EC2 gives them
table.py           versioned tables, so that reads can lag behind writes
cloud.py           all tables of one account, its clock and its chance
vpcs.py subnets.py security_groups.py instance_types.py instances.py interfaces.py attachments.py addresses.py tags.py
                   one noun each: its record and the operations on it
tokens.py          what was answered to which client token

An operation either refuses (``Refused``, nothing changed) or commits whole.
"""

"""The HTTP side: one process, one region, any number of accounts.

app.py          settings, wiring, running
ec2.py          POST /            the EC2 API
resources.py    /_sim             what a test puts into the cloud
control.py      /_sim             what it sees of it and lets happen: faults, time
identities.py   /_sim             who may call: keys, roles, the roles of instances
sts.py          /sts              temporary keys for roles; the agent of EKS Pod Identity
imds.py         /imds/<instance>  the metadata service of an instance
accounts.py     whose resources, throttling and tasks they are
effects.py      what takes time after a call: attaching, detaching
fabric_link.py  tells the fabric about interfaces, in order
faults.py buckets.py keyring.py roles.py calls.py   the script of faults, throttling, keys, roles, counts
"""

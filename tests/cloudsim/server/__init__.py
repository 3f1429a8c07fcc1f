"""The HTTP side: one process, one account.

app.py          settings, wiring, running
ec2.py          POST /            the EC2 API
control.py      /_sim             what a test does to the cloud, and sees of it
imds.py         /imds/<instance>  the metadata service of an instance
effects.py      what takes time after a call: attaching, detaching
fabric_link.py  tells the fabric about interfaces, in order
faults.py buckets.py keyring.py calls.py   the script of faults, throttling, credentials, counts
"""

"""AWS's own services at fixed addresses. The resolver is at the VPC's base address plus two as well, as any host is.

Sources: EC2 user guide "Retrieve instance metadata" and "Keep time with Amazon Time Sync"; VPC user guide "Amazon DNS";
ECS developer guide "Task IAM role"; EKS user guide "Pod Identity".
"""

from ipaddress import ip_address

from underlay.core.cloud.model import CloudService

SERVICES = frozenset(
    {
        CloudService(address=ip_address("169.254.169.254"), purpose="metadata"),
        CloudService(address=ip_address("fd00:ec2::254"), purpose="metadata"),
        CloudService(address=ip_address("169.254.170.2"), purpose="metadata"),  # of ECS, where its agent is installed
        CloudService(address=ip_address("169.254.169.253"), purpose="dns"),
        CloudService(address=ip_address("fd00:ec2::253"), purpose="dns"),
        CloudService(address=ip_address("169.254.169.123"), purpose="time"),
        CloudService(address=ip_address("fd00:ec2::123"), purpose="time"),
        CloudService(address=ip_address("169.254.170.23"), purpose="pod-identity"),
        CloudService(address=ip_address("fd00:ec2::23"), purpose="pod-identity"),
    }
)

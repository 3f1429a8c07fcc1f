"""What people do at the cloud by hand. Faults strike them as anybody."""

import asyncio

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cloudsim.threaded import Simulator
from support.agreement import Json
from support.operator_site import REGION

_REFUSED = (ClientError, BotoCoreError)
_RETRY_SECONDS = 0.3
_PATIENCE_SECONDS = 5


class Hands:
    """Asks once and does not wait long; True: it was done."""

    def __init__(self, sim: Simulator) -> None:
        self._ec2 = boto3.client(
            "ec2",
            region_name=REGION,
            endpoint_url=sim.url,
            aws_access_key_id="AKIAHAND",
            aws_secret_access_key="hand",  # noqa: S106 - signatures are not verified
            config=Config(read_timeout=_PATIENCE_SECONDS, retries={"total_max_attempts": 1}),
        )

    def close(self) -> None:
        """Lets go of connections."""
        self._ec2.close()

    async def keep(self, subnet: str, cidr: str) -> None:
        """Reserves a block for whoever names an address of it."""
        await asyncio.to_thread(
            self._ec2.create_subnet_cidr_reservation, SubnetId=subnet, Cidr=cidr, ReservationType="explicit"
        )

    async def detach(self, attachment: str) -> bool:
        """False: it may have been detached all the same, or by somebody who was faster."""
        try:
            await asyncio.to_thread(self._ec2.detach_network_interface, AttachmentId=attachment)
        except _REFUSED:
            return False
        return True

    async def attach(self, machine: str, rows: list[Json], subnet: str) -> bool:
        """Another interface with an address for pods, which ends with the machine; ``rows`` are all interfaces. What
        cannot be attached is left lying about.
        """
        taken = {row["attachment"]["device_index"] for row in rows if _is_of(row, machine)}
        index = next(number for number in range(1, len(taken) + 2) if number not in taken)
        try:
            made = await asyncio.to_thread(
                self._ec2.create_network_interface, SubnetId=subnet, SecondaryPrivateIpAddressCount=1
            )
            id_ = made["NetworkInterface"]["NetworkInterfaceId"]
            attachment = await asyncio.to_thread(
                self._ec2.attach_network_interface, NetworkInterfaceId=id_, InstanceId=machine, DeviceIndex=index
            )
        except _REFUSED:
            return False
        while True:
            try:
                await asyncio.to_thread(
                    self._ec2.modify_network_interface_attribute,
                    NetworkInterfaceId=id_,
                    Attachment={"AttachmentId": attachment["AttachmentId"], "DeleteOnTermination": True},
                )
            except _REFUSED:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return True


def _is_of(row: Json, machine: str) -> bool:
    return bool(row["attachment"]) and row["attachment"]["instance"] == machine

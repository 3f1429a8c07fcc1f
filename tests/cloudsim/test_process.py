"""The program itself."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp


async def test_starts_says_where_and_stops(tmp_path: Path) -> None:
    """`python -m cloudsim` writes its address once it serves, and ends with 0 on SIGTERM, even with a call hanging."""
    ready = tmp_path / "ready.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cloudsim", "--listen", "127.0.0.1:0", "--ready-file", str(ready), "--lag-seconds", "0"),
        cwd=Path(__file__).parents[1],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(20):
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            url = json.loads(ready.read_text())["url"]
            async with aiohttp.ClientSession() as session:
                await session.post(f"{url}/_sim/faults", json={"operation": "*", "kind": "hang"})
                headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/ec2/aws4_request, x"}
                body = {"Action": "DescribeSubnets"}
                hung = asyncio.create_task(session.post(url, data=body, headers=headers))
                while "DescribeSubnets" not in await (await session.get(f"{url}/_sim/calls")).json():
                    pass
                process.send_signal(signal.SIGTERM)
                status = await process.wait()
                await asyncio.gather(hung, return_exceptions=True)

        assert f"cloudsim: {url}\n" == line
        assert status == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

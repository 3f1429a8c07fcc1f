"""What a person or a script needs to use a standing world: ``build/up/env``. Pure."""

import shlex

from world.world import ACCESS_KEY, REGION, SECRET, World


def variables(world: World) -> dict[str, str]:
    """What a person or a script needs to use a world, as environment variables."""
    found = {
        "KUBECONFIG": str(world.plane.kubeconfig),
        "UNDERLAY_WORLD": world.names.world,
        "UNDERLAY_LOGS": str(world.logs),
        "CNI_PATH": str(world.cni_path),
        "CNI_NETWORK": world.names.cni_network,
        "AWS_ENDPOINT_URL": world.simulator.url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "CLOUDSIM_URL": world.simulator.url,
        "FABRIC_URL": world.fabric.url,
    }
    for number, spec in enumerate(world.nodes, start=1):
        found |= {
            f"NODE_{number}_NETNS": spec.netns,
            f"NODE_{number}_SOCKET": spec.socket,
            f"NODE_{number}_SPOOL": spec.spool,
            f"NODE_{number}_NETCONFPATH": spec.cni_configuration,
        }
    return found


def exports(world: World) -> str:
    """For a shell to source; kubectl and cnitool are then on its path."""
    folders = sorted({str(world.programs[name].parent) for name in ("kubectl", "cnitool")})
    lines = [f"export {key}={shlex.quote(value)}" for key, value in variables(world).items()]
    lines.append(f'export PATH={":".join(map(shlex.quote, folders))}:"$PATH"')
    return "\n".join(lines) + "\n"

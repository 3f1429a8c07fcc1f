"""The kernel lab: what this host's kernel lacks, shown on a stock Debian kernel in QEMU.

    probe       whether this kernel has ipvlan; where it has, no lab is needed
    kernel      the Debian kernel, unpacked in the cache and never installed
    guest       a booted machine, and programs on it
    inside      the guest's end (a script: it imports nothing but the standard library)
    machine     what the guest and this host have in common, for tests that run on either
    relay       lets nodes without a network of their own reach one port elsewhere (a script, like ``inside``)
    plugin      pytest: tests marked ``kernel`` run in the guest, their results are reported as if they had run here
    reports     pytest: how results travel out of the guest
    line        control plane, cloud and two nodes, for the test of the main line
    folder      where logs go

The guest shares the host's files read-only and sees what it writes in memory only: it leaves nothing behind. All its
processors are emulated, so everything there takes ten to thirty times as long; one boot serves a whole test run.
"""

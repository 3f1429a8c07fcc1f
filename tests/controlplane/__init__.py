"""A real Kubernetes control plane for tests, the demo and ``make up``.

build     the programs, built once from their Go modules into a cache folder (``python -m controlplane.build``)
toolchain a Go compiler that is new enough, from the machine or from PyPI
progress  shows on the terminal what is being built, for how long
process   child processes that die with their parent, or outlive it and are found again by a record
access    what lets a client in: keys, tokens, kubeconfig files
audit     the API server's audit log, read as counts of requests
crds      where the kinds that CRDs define are served
arguments what each program is told
cluster   ControlPlane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler
"""

"""The only package that speaks to the API server.

resources    which kinds there are and where they live
connection   kubeconfig or service account → an HTTP client
client       the API's verbs over our Structs
codec        bytes of the API server ↔ our Structs
errors       what the API server can answer, named by what the caller does next
reflector    list and watch → store (kept through outages)
optimistic   read, decide, write; decide again on conflict
events       Kubernetes Events, aggregated
lease        leader election

lightkube reads kubeconfigs and provides authentication; requests and decoding are ours.
"""

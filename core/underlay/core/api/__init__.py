"""The kinds of group ``spiderpool.spidernet.io/v2beta1``, one Struct each, and what is made of them. Pure.

meta            what every kind shares; how attribute names become JSON names
ippool subnet endpoint reservedip multusconfig coordinator      Spiderpool's kinds, its fields and defaults
networkprovider nodenetwork ipblock                             Underlay's own kinds
selectors       does a label selector select these labels
kubernetes      Kubernetes' own kinds, only the fields that are read or written
conditions      setting a condition; RFC 3339 times
kinds           each kind as a value: names, scope, columns, rules
schema          Struct → structural OpenAPI v3
crds            kinds + schema → the files of charts/underlay/crds
"""

"""EC2's query protocol.

query.py       form parameters, read by name and type; what nobody read is refused
xml.py         answers and errors as XML
shapes.py network_shapes.py
               the model's records in EC2's element names
filters.py lookup.py
               Filter.n, paging, records by id at a moment
describes.py networks.py
               reading operations, at a given moment
creation.py assignments.py mutations.py settings.py
               changing operations; done.py is what they leave to be done
operations.py  action name → function
"""

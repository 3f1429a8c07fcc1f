"""EC2's query protocol.

query.py       form parameters, read by name and type; what nobody read is refused
xml.py         answers and errors as XML
shapes.py      the model's records in EC2's element names
filters.py     Filter.n and paging
describes.py   reading operations, at a given moment
mutations.py   changing operations
operations.py  action name → function
"""

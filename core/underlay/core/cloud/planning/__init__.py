"""What to ask of the cloud for one node, decided in pure functions over one view of it.

view       all that a plan depends on
actions    what a plan may ask for
pressure   how scarce a subnet's addresses are
demand     pods and claims → how many addresses a node should have
slots      where further interfaces may be attached
site       the view, counted: which interfaces serve pods, with how much, with room for what
growth     a lack → the cheapest calls that end it
shrinking  a surplus → what goes back, in small steps
shortage   which limit keeps pods from being served, for a person
plan       all of it: the actions, in order
floating   how a fixed address comes to a node
"""

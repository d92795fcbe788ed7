"""Where a namespace keeps its holds and its log; import the store you use from its module.

`memory` needs nothing, `sqlite` is shared by the processes of one host, and `local` is the
file by which an operator acts on one host when the store is dead.
"""

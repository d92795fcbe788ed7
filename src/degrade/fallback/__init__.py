"""The ladder: what is served when the function is not called.

ladder         `simplified`, `snapshot`, `default`, `omit`
rung           what every rung is: declared, bound to a function, asked to serve
constant_copy  how a constant is handed out
data           what is nothing but data, told by real types alone
responses      which objects are responses of web frameworks
snapshots      the snapshot rung and its tiers
"""

"""The way to real servers: connections, topology, errors.

base                what the store needs of a server: one batch, one round trip, one channel
lazy                a transport that loads its library with the first use
client              the transport: one connection for commands, one for the channel
topology            the primary of a key: directly, by Sentinel, or by the slots of a Cluster
connection          one connection to one server, with every wait bounded
pending_connection  a connection that is being opened
subscriber          one subscription after the other
pubsub_reader       messages of a channel, read from the socket
errors              what goes wrong with a server, and what an operator can do
address             addresses: one server, Sentinel, or Cluster
"""

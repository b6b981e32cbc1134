"""The node door: how a worker joins the cluster, and how it says that it is there.

    register    the tables on disk
    tokens      join tokens: made, listed, revoked, spent
    members     nodes: who joined, who was revoked, how they are
    nonces      a nonce that costs the head no memory until it is spent
    enrolment   from a proven token to a leaf, in one transaction
    presence    who is a node by its certificate, kept quick for heartbeats
    transport   TLS, and bounds for slow and many connections
    door        the routes

Nodes only: people have another door.
"""

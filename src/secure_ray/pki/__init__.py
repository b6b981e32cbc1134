"""Keys, certificates and the cluster token of one node; the only importer of cryptography.

    lifetimes, sans, facts   values: how long, for which names, what a certificate says
    profiles                 what is in a certificate: root CA, issuing CA, node leaf (pure)
    renewal                  what has to be made again, and why (pure)
    store                    which file lies where; generations of the leaf
    inspection               what is found on disk
    credentials              the above put together: what `up` calls
    token                    Ray's own cluster token

It does not protect from root, nor from another process of the same user: Ray reads the leaf's key
as a plain file, so whatever runs as Ray's user can read it too.
"""

"""Keys, certificates and the cluster token of one node; the only importer of cryptography.

    lifetimes, sans, facts   values: how long, for which names, what a certificate says
    keys, profiles           what is in a key and in a certificate (pure)
    trust                    who believes whom: as TLS does, and by pins
    authority                the stage of a rotation, and what nodes show and trust at it (pure)
    renewal                  what has to be made again, and why (pure)
    generations, store       directories that are swapped whole; which file lies where
    inspection               what is found on disk
    root_key, issuance       the root key opened; keys and certificates made
    credentials              the above put together: what `up` calls
    rotation, rotation_facts another root CA or issuing CA, step by step
    enrolment, proof         a node's leaf: issued by the head, kept by the node
    dress, canary            what is on disk and live; what a live process trusts
    corporate, imported      an issuing CA under somebody else's root
    offline                  the root key off the machine
    token                    Ray's own cluster token

It does not protect from root, nor from another process of the same user: Ray reads the leaf's key
as a plain file, so whatever runs as Ray's user can read it too.
"""

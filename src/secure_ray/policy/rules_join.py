"""Errors about joining a cluster, and about its nodes."""

from __future__ import annotations

from secure_ray.policy.rules import failure

_NEW_TOKEN = "On the head: secure-ray join-token create, and paste the whole string."  # noqa: S105

JOIN_RULES = (
    failure(
        "SR-JOIN-001",
        "this is no join string",
        "A join string begins with SRJ1-; what was given is something else, or nothing.",
        _NEW_TOKEN,
    ),
    failure(
        "SR-JOIN-002",
        "the join string is cut short, or has something behind it",
        "A terminal, a chat or a mail took off a part of it; line breaks and spaces are fine.",
        "Copy the whole string once more.",
    ),
    failure(
        "SR-JOIN-003",
        "the join string was altered",
        "Its check does not fit: a letter was lost, added or changed while it was copied.",
        "Copy the whole string once more.",
    ),
    failure(
        "SR-JOIN-004",
        "this is a secret of another kind",
        "A user's token (SRU1-) or a recovery string (SRR1-) lets no new node join.",
        _NEW_TOKEN,
    ),
    failure(
        "SR-JOIN-005",
        "this version cannot read the join string",
        "The head runs another version of secure-ray, with another format.",
        "Install the version that the head has: pip install secure-ray==VERSION.",
    ),
    failure(
        "SR-JOIN-010",
        "the join token has expired",
        "A token lives for 30 minutes if nothing else was asked for, so that one that is found "
        "later opens nothing.",
        "On the head: secure-ray join-token create, with --ttl for up to 24 hours.",
    ),
    failure(
        "SR-JOIN-011",
        "the join token was used already",
        "It lets one node in if nothing else was asked for. The node that used it may try again "
        "with its own key; another one may not. If nobody of yours used it, somebody else did.",
        "secure-ray node list on the head shows who; secure-ray node revoke NAME if it is a "
        "stranger. For more nodes: secure-ray join-token create --uses N.",
    ),
    failure(
        "SR-JOIN-012",
        "the join token was revoked",
        "Somebody ran secure-ray join-token revoke on the head.",
        _NEW_TOKEN,
    ),
    failure(
        "SR-JOIN-013",
        "the head knows no such join token, or the proof does not fit it",
        "The token is of another cluster or was forgotten a week after it expired, or the string "
        "was altered. Five of these from one address lock it out of the token for half an hour.",
        _NEW_TOKEN,
    ),
    failure(
        "SR-JOIN-014",
        "another node has this name",
        "A name is one node's: certificates and orders go by it.",
        "Choose another with --name; or, if that node is gone for good, on the head: secure-ray "
        "node revoke NAME, and join again.",
    ),
    failure(
        "SR-JOIN-015",
        "the node's name is not allowed",
        "A name is up to 63 lower-case letters, digits and hyphens; a token made with --node "
        "admits that name alone.",
        "secure-ray up --join - --name NAME",
    ),
    failure(
        "SR-JOIN-016",
        "the clocks of node and head are more than 5 minutes apart",
        "Certificates and tokens are valid from a time to a time; with a wrong clock they fail "
        "now or later, and for no visible reason.",
        "Set both clocks by NTP: timedatectl set-ntp true.",
    ),
    failure(
        "SR-JOIN-017",
        "versions differ between node and head",
        "Ray refuses nodes with another version of Ray or Python than the head's, to the last "
        "digit; secure-ray needs the same minor version.",
        "Install on this node what the message names.",
    ),
    failure(
        "SR-JOIN-018",
        "too many requests to the head's door",
        "Each address may ask once a second, five times at once; all together join twenty times "
        "a minute, forty at once.",
        "Wait as long as the message says, then join again; the token stays good.",
    ),
    failure(
        "SR-JOIN-019",
        "this address is locked out of the join token",
        "Five wrong proofs for the token came from it (or from its /64, for IPv6 from another "
        "network than the head's). Other addresses are served, and this one with another token.",
        "Wait as long as the message says; find out what on this host tried strings at random.",
    ),
    failure(
        "SR-JOIN-020",
        "the nonce is not fresh any more",
        "It is good for one proof and for a minute, and not after the head has started again.",
        "Join again.",
    ),
    failure(
        "SR-JOIN-021",
        "the head's door does not understand the request",
        "Something else speaks to it, or another version of secure-ray, such as an older one.",
        "Install the version that the head has: pip install secure-ray==VERSION.",
    ),
    failure(
        "SR-JOIN-022",
        "this needs the certificate of a node that has joined",
        "The head has issued no such certificate, or its register was removed.",
        "Join: secure-ray up --join -.",
    ),
    failure(
        "SR-JOIN-023",
        "the node was revoked",
        "Somebody ran secure-ray node revoke on the head; the door refuses it from then on.",
        "If that was a mistake: secure-ray reset on the node, and join with a new token.",
    ),
    failure(
        "SR-JOIN-024",
        "another node has this address",
        "A leaf is for an address: with two for one address, each node could pose as the other. "
        "Several nodes on one host are not supported, nor is a worker on the head's.",
        "Join from a host of its own. If that node is gone for good, on the head: secure-ray node "
        "revoke NAME, and join again.",
    ),
    failure(
        "SR-JOIN-025",
        "the head cannot issue certificates",
        "Its issuing CA is missing, damaged or expired.",
        "On the head: secure-ray down, then secure-ray up --head, which makes a new one.",
    ),
    failure(
        "SR-JOIN-026",
        "the register of nodes cannot be used",
        "nodes.db in the cluster's directory is damaged, of another version, or the disk is full.",
        "Free space, or put nodes.db back from a copy. Without it no node is known any more.",
    ),
    failure(
        "SR-JOIN-027",
        "the head cannot do it now",
        "Something failed on the head; the token was not spent.",
        "Try again; the reason is in supervisor.log on the head.",
    ),
    failure(
        "SR-JOIN-028",
        "the head's certificate is not valid by this node's clock",
        "Either this node's clock is wrong, or the head did not renew its certificate.",
        "Set both clocks by NTP: timedatectl set-ntp true. Then, on the head: secure-ray status.",
    ),
    failure(
        "SR-JOIN-030",
        "what answers is not the head that the join string names",
        "The root CA that it shows has another key than the one pinned in the string. Nothing was "
        "sent. Either the string is of another (or a reset) cluster, or somebody is between.",
        "On the head: secure-ray join-token create. If it comes again, find out who has that "
        "address: ip neigh.",
    ),
    failure(
        "SR-JOIN-031",
        "the head is not reachable",
        "Nobody answers at any address of the join string: the head is down, a firewall is "
        "between, or this node is on another network.",
        "secure-ray status on the head; then try the address and port that the message names.",
    ),
    failure(
        "SR-JOIN-032",
        "what answers is not the door of a head",
        "The address or the port belongs to something else now.",
        "On the head: secure-ray join-token create, for a string with the port that it has now.",
    ),
    failure(
        "SR-JOIN-033",
        "what answers cannot prove that it is the head",
        "It shows the cluster's root CA, which is public, but has no certificate of it for this "
        "address. Nothing was sent.",
        "Find out who has that address: ip neigh. On the head: secure-ray status.",
    ),
    failure(
        "SR-JOIN-034",
        "the head's answer did not come",
        "The connection ended, or 30 seconds were over. The head may have acted; the same node "
        "gets the same answer when it asks again.",
        "Run it again with the same join string.",
    ),
    failure(
        "SR-JOIN-035",
        "the certificate that the head sent cannot be used",
        "It is not for this node's key, not of the pinned root, or not valid by this clock.",
        "On the head: secure-ray audit; then join again.",
    ),
    failure(
        "SR-JOIN-036",
        "the port plan that the head sent cannot be read",
        "The head runs another version of secure-ray, which writes it in another way.",
        "Install the version that the head has: pip install secure-ray==VERSION.",
    ),
    failure(
        "SR-JOIN-040",
        "no node can join here",
        "Join tokens are made on the head of a cluster in private mode; in local mode nothing "
        "listens for other hosts, and a worker issues no certificates.",
        "On the head: secure-ray down, then secure-ray up --head --bind private.",
    ),
    failure(
        "SR-JOIN-041",
        "an option of join-token create is out of bounds",
        "Tokens live for 1 minute to 24 hours and let 1 to 1000 nodes in.",
        "secure-ray join-token create --help",
    ),
    failure(
        "SR-JOIN-042",
        "there is no such join token",
        "It was never made on this head, or it expired more than a week ago.",
        "secure-ray join-token list",
    ),
    failure(
        "SR-JOIN-043",
        "there is no such node",
        "No node of that name has joined this head, or it is revoked already.",
        "secure-ray node list",
    ),
    failure(
        "SR-JOIN-044",
        "this node has another address than the one it joined with",
        "Its certificate bears the old address, so the other nodes would refuse it.",
        "Give the node its old address back; or, on the head: secure-ray join-token create, and "
        "join again.",
    ),
    failure(
        "SR-JOIN-045",
        "this node's certificate has expired",
        "The node was off for longer than its certificate lived; no other node trusts it now.",
        "On the head: secure-ray join-token create; then join again.",
    ),
    failure(
        "SR-JOIN-046",
        "the head has revoked this node",
        "Somebody ran secure-ray node revoke on the head. Ray checks no list of revoked "
        "certificates, so the node stops its own Ray.",
        "If that was a mistake: secure-ray reset here, and join with a new token.",
    ),
    failure(
        "SR-JOIN-047",
        "there is another cluster of this name here",
        "This directory holds a head's own keys, or the identity of a node of another cluster; "
        "joining would replace them.",
        "Join under another name, with --cluster; or secure-ray reset, if that one is given up.",
    ),
    failure(
        "SR-JOIN-048",
        "the head sees this node under another address than its own",
        "Something between them translates addresses. Every node must reach every other by the "
        "address in its certificate.",
        "Connect both to one network without NAT.",
    ),
    failure(
        "SR-JOIN-049",
        "this is no name for a node",
        "A node's name stands in its certificate and in orders, so it is plain: up to 63 "
        "lower-case letters, digits and hyphens.",
        "secure-ray up --join - --name w1",
    ),
    failure(
        "SR-JOIN-050",
        "the head does not answer",
        "A worker that starts asks its head first: Ray itself would look for it for two minutes, "
        "and then say something else.",
        "See whether the head is up and reachable (secure-ray status there), then run it again.",
    ),
    failure(
        "SR-JOIN-051",
        "this host is a node of that cluster already, under another name",
        "A key is one node's. With two names it would still be a node once one of them is revoked.",
        "Join with the name that it has (--name), or secure-ray reset here and, on the head, "
        "secure-ray node revoke NAME; then join with a new token.",
    ),
    failure(
        "SR-JOIN-052",
        "the node runs, and would have to join again",
        "Its head is elsewhere than when it joined, its own address is another, or its certificate "
        "is old. What runs goes on with what it has; the join string was not used.",
        "secure-ray down, then secure-ray up --join - with the same string.",
    ),
    failure(
        "SR-JOIN-053",
        "no join string came on standard input",
        "Standard input is no terminal, and whoever is at its other end has sent none in two "
        "minutes.",
        "Pipe what secure-ray join-token create prints on the head, or give a file: --join FILE.",
    ),
)

"""Rules and errors about the address that a cluster listens on, and about the firewall."""

from __future__ import annotations

from secure_ray.policy.rules import Rule, Severity, failure

NETWORK_RULES = (
    Rule(
        "SR-BIND-001",
        "the cluster would listen on a public address",
        "The whole internet could knock, and one flaw in a door that runs code for whoever gets "
        "in is enough (CVE-2023-48022). No reason is good enough for that, so this rule has no "
        "override.",
        "Take a private address of this host: --bind private, or one that --bind private lists.",
        overridable=False,
        severity=Severity.CRITICAL,
    ),
    Rule(
        "SR-BIND-002",
        "the cluster would listen on an address for documents or benchmarks",
        "Such addresses (RFC 5737, RFC 3849, RFC 9637, RFC 2544) are copied from examples; no "
        "network owns them, so nothing says where they lead.",
        "Take an address of your network: --bind private.",
        overridable=True,
        severity=Severity.MEDIUM,
    ),
    Rule(
        "SR-BIND-003",
        "the address is not one that a host of a cluster can have",
        "Loopback is not reached from other hosts; multicast and reserved addresses belong to no "
        "host at all.",
        "Take an address of your network: --bind private; for this host alone: --bind local.",
        overridable=False,
        severity=Severity.HIGH,
    ),
    Rule(
        "SR-BIND-010",
        "the cluster would listen on a link-local IPv6 address",
        "fe80::1 is another host on each link, so each host has to add an interface of its own "
        "(RFC 4007), and neither a join string nor a certificate can say it.",
        "Take an address that means the same on all hosts: --bind private, or a ULA of your own "
        "prefix (RFC 4193): ip address add fdXX:XXXX:XXXX::1/64 dev IFACE.",
        overridable=False,
        severity=Severity.HIGH,
    ),
    failure(
        "SR-BIND-004",
        "several private addresses, and none was chosen",
        "Only you know which network the cluster belongs to. A guess could open it to the wrong "
        "one.",
        "Name one of those listed: secure-ray up --head --bind ADDRESS.",
    ),
    failure(
        "SR-BIND-005",
        "no private address",
        "`--bind private` takes an RFC 1918 or ULA address of an interface that is up. Bridges of "
        "containers, CGNAT and link-local addresses (169.254.0.0/16) are taken only when they are named.",
        "Name one that is listed, give this host a private address (a ULA, RFC 4193, or a VPN "
        "such as WireGuard), or stay on this host: --bind local.",
    ),
    failure(
        "SR-BIND-006",
        "the address is not on this host, or its interface is down",
        "A socket can be bound only to an address that an interface has.",
        "See `ip address`, or `ip link set IFACE up`.",
    ),
    failure(
        "SR-BIND-007",
        "the name does not mean one private address of this host",
        "It is unknown, or means an address that is elsewhere, public, loopback (Debian writes "
        "127.0.1.1 beside the host's own name into /etc/hosts), or several.",
        "Give the address itself: --bind ADDRESS.",
    ),
    failure(
        "SR-BIND-008",
        "no route to the head",
        "This host has no route to the head's address, so it has no address to join from.",
        "Connect the two (ip route get ADDRESS), or take the head's address on a network that "
        "both have.",
    ),
    failure(
        "SR-BIND-009",
        "the addresses of this host cannot be read",
        "Without the list nothing can be chosen or checked.",
        "Let this user read /proc/net and use netlink sockets.",
    ),
    failure(
        "SR-FW-001",
        "only root may see or change the firewall",
        "The kernel's packet filter belongs to the host, not to a user.",
        "secure-ray firewall show | sudo nft -f - ; to compare: secure-ray firewall show | "
        "sudo secure-ray firewall check --rules -",
    ),
    failure(
        "SR-FW-002",
        "nft is not installed",
        "The rules are put into the kernel by nft(8).",
        "Install the package nftables, or run as root what `secure-ray firewall show --iptables` "
        "prints.",
    ),
    failure(
        "SR-FW-003",
        "nft does not take the rules",
        "Mostly the kernel lacks a module (nf_tables, nf_conntrack), or this is a container whose "
        "host keeps the firewall. Nothing has changed: rules are taken whole or not at all.",
        "See the message: secure-ray firewall show | sudo nft -c -f - ; or let the host do it.",
    ),
    failure(
        "SR-FW-004",
        "the live firewall cannot be compared with the plan",
        "The plan is loaded into an empty network namespace to see how this kernel shows it; "
        "that namespace could not be made.",
        "Run it where root may make one (CAP_SYS_ADMIN), or look at `nft list ruleset`.",
    ),
    failure(
        "SR-FW-005",
        "a peer or network that the firewall cannot be opened to",
        "Peers are IP addresses. Nodes join from a private network only: a wider one would open "
        "the door to strangers.",
        "secure-ray firewall show --peer 10.0.0.6 --join-from 10.0.0.0/24",
    ),
    failure(
        "SR-FW-006",
        "no such user",
        "The rules name the user that Ray runs as.",
        "--user NAME or its number; without it the owner of the cluster's state is taken.",
    ),
    failure(
        "SR-FW-007",
        "these are not rules of secure-ray",
        "`firewall check --rules` compares what `firewall show` has printed.",
        "secure-ray firewall show | sudo secure-ray firewall check --rules -",
    ),
)

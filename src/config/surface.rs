//! Every setting of `serve` by the name of its flag: variable, default and help, one table.
//!
//! The command line is built from this table and the defaults are read from it, so that help cannot promise what the
//! gate does not do. Holds text only; what a value means is decided by its parser.

/// One setting as the command line shows it.
#[derive(Debug)]
pub struct Flag {
    /// With its dashes: `--client-ca`.
    pub name: &'static str,
    /// The environment variable: `PORTCULLIS_CLIENT_CA`.
    pub variable: &'static str,
    /// The part of the help it stands in.
    pub heading: &'static str,
    /// What the help calls the value.
    pub value: &'static str,
    /// How often it may be given.
    pub shape: Shape,
    /// The value if nobody wrote one; parsed like any other.
    pub default: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
}

/// How a setting is written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Once, with a value.
    One,
    /// Any number of times; the variable takes a comma-separated list.
    Many,
    /// Alone, or with `=true` or `=false`.
    Switch,
}

/// The setting with this name, if there is one.
pub fn flag(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

pub(super) const CONFIGURATION: &str = "Configuration";
pub(super) const ROUTE: &str = "Route";
pub(super) const ADMISSION: &str = "Admission";
pub(super) const TLS: &str = "TLS";
const LIMITS: &str = "Limits";
const TIMEOUTS: &str = "Timeouts";
const LOG_AND_ADMIN: &str = "Log and admin";

/// The setting that `probe` takes as well.
pub(super) const ADMIN: Flag = Flag {
    name: "--admin",
    variable: "PORTCULLIS_ADMIN",
    heading: LOG_AND_ADMIN,
    value: "IP:PORT|unix:PATH|off",
    shape: Shape::One,
    default: Some("127.0.0.1:54900"),
    help: "Plain HTTP listener for /livez, /readyz, /metrics, /status and /sessions; loopback or a Unix socket \
           only",
};

/// All settings in the order of the help.
pub static FLAGS: &[Flag] = &[
    Flag {
        name: "--config",
        variable: "PORTCULLIS_CONFIG",
        heading: CONFIGURATION,
        value: "FILE",
        shape: Shape::One,
        default: None,
        help: "TOML file with the same names, `_` for `-`: [tls] and [[route]] tables, all others at the top \
               level. Needed for more than one route. A flag or a variable wins over the file; unknown keys are \
               refused",
    },
    Flag {
        name: "--listen",
        variable: "PORTCULLIS_LISTEN",
        heading: ROUTE,
        value: "IP:PORT",
        shape: Shape::One,
        default: Some("0.0.0.0:54899"),
        help: "Where clients connect with TLS; [::]:PORT takes IPv4 and IPv6, $(NAME):PORT the address in that variable",
    },
    Flag {
        name: "--target",
        variable: "PORTCULLIS_TARGET",
        heading: ROUTE,
        value: "IP:PORT|unix:PATH",
        shape: Shape::One,
        default: Some("127.0.0.1:54898"),
        help: "Where the bytes of admitted clients go: a loopback address or a Unix socket. Names are not resolved",
    },
    Flag {
        name: "--unsafe-target",
        variable: "PORTCULLIS_UNSAFE_TARGET",
        heading: ROUTE,
        value: "true|false",
        shape: Shape::Switch,
        default: Some("false"),
        help: "Permit a target that is not loopback: plaintext then leaves this host",
    },
    Flag {
        name: "--proxy-protocol",
        variable: "PORTCULLIS_PROXY_PROTOCOL",
        heading: ROUTE,
        value: "off|v2",
        shape: Shape::One,
        default: Some("off"),
        help: "v2 sends the target a PROXY header first, with the client's TLS facts as TLVs",
    },
    Flag {
        name: "--allow-dns",
        variable: "PORTCULLIS_ALLOW_DNS",
        heading: ADMISSION,
        value: "NAME",
        shape: Shape::Many,
        default: None,
        help: "Admit a verified client with this DNS name: exact but for case, DNS names only. Any --allow-... that \
               matches admits. Repeatable; the variable takes a comma-separated list, as for all repeatable flags. At \
               least one --allow-... name, or --allow-any-client, must be given",
    },
    Flag {
        name: "--allow-uri",
        variable: "PORTCULLIS_ALLOW_URI",
        heading: ADMISSION,
        value: "URI",
        shape: Shape::Many,
        default: None,
        help: "Admit a verified client with this URI, as spiffe://td/ns/monitoring/sa/prometheus: byte for byte, or \
               with `*` for one whole path segment, or ending in `/**` for one or more. Repeatable",
    },
    Flag {
        name: "--allow-cn",
        variable: "PORTCULLIS_ALLOW_CN",
        heading: ADMISSION,
        value: "NAME",
        shape: Shape::Many,
        default: None,
        help: "Admit a verified client with this common name, byte for byte. Repeatable; a name with a comma needs \
               the flag or the file",
    },
    Flag {
        name: "--allow-ou",
        variable: "PORTCULLIS_ALLOW_OU",
        heading: ADMISSION,
        value: "NAME",
        shape: Shape::Many,
        default: None,
        help: "Admit a verified client with this organizational unit, byte for byte. Repeatable; a name with a comma \
               needs the flag or the file",
    },
    Flag {
        name: "--allow-spki",
        variable: "PORTCULLIS_ALLOW_SPKI",
        heading: ADMISSION,
        value: "sha256:BASE64",
        shape: Shape::Many,
        default: None,
        help: "Admit a verified client with this public key, on top of chain verification. Repeatable",
    },
    Flag {
        name: "--allow-any-client",
        variable: "PORTCULLIS_ALLOW_ANY_CLIENT",
        heading: ADMISSION,
        value: "true|false",
        shape: Shape::Switch,
        default: Some("false"),
        help: "Admit every client that the CA vouches for; excludes --allow-... names",
    },
    Flag {
        name: "--allow-from",
        variable: "PORTCULLIS_ALLOW_FROM",
        heading: ADMISSION,
        value: "CIDR",
        shape: Shape::Many,
        default: None,
        help: "Only these source networks, judged before any TLS; without it every source may try. A bare address \
               is a network of one. Repeatable",
    },
    Flag {
        name: "--cert",
        variable: "PORTCULLIS_CERT",
        heading: TLS,
        value: "FILE",
        shape: Shape::One,
        default: Some("/etc/portcullis/tls/tls.crt"),
        help: "Server certificate chain, PEM, leaf first",
    },
    Flag {
        name: "--key",
        variable: "PORTCULLIS_KEY",
        heading: TLS,
        value: "FILE",
        shape: Shape::One,
        default: Some("/etc/portcullis/tls/tls.key"),
        help: "Private key of the certificate, PEM: PKCS#8, SEC1 or PKCS#1",
    },
    Flag {
        name: "--client-ca",
        variable: "PORTCULLIS_CLIENT_CA",
        heading: TLS,
        value: "FILE",
        shape: Shape::Many,
        default: Some("/etc/portcullis/tls/ca.crt"),
        help: "PEM bundle of the CAs that vouch for clients. Repeatable: the union counts",
    },
    Flag {
        name: "--client-crl",
        variable: "PORTCULLIS_CLIENT_CRL",
        heading: TLS,
        value: "FILE",
        shape: Shape::Many,
        default: None,
        help: "PEM or DER revocation list, signed by a CA of --client-ca. Repeatable. With one given, every certificate \
               of a chain is checked, and a chain whose status no list knows is refused",
    },
    Flag {
        name: "--stale-crl",
        variable: "PORTCULLIS_STALE_CRL",
        heading: TLS,
        value: "refuse|accept",
        shape: Shape::One,
        default: Some("refuse"),
        help: "What becomes of clients whose revocation list is past its nextUpdate",
    },
    Flag {
        name: "--tls-min",
        variable: "PORTCULLIS_TLS_MIN",
        heading: TLS,
        value: "1.2|1.3",
        shape: Shape::One,
        default: Some("1.3"),
        help: "The lowest TLS version spoken",
    },
    Flag {
        name: "--allow-missing-eku",
        variable: "PORTCULLIS_ALLOW_MISSING_EKU",
        heading: TLS,
        value: "true|false",
        shape: Shape::Switch,
        default: Some("false"),
        help: "Admit client certificates without any extended key usage; else clientAuth must be listed",
    },
    Flag {
        name: "--max-connections",
        variable: "PORTCULLIS_MAX_CONNECTIONS",
        heading: LIMITS,
        value: "NUMBER",
        shape: Shape::One,
        default: Some("4096"),
        help: "Admitted connections of all routes; over it a newly admitted one is closed. Lowered, with a warning, \
               to what the descriptor limit allows",
    },
    Flag {
        name: "--max-connections-per-source",
        variable: "PORTCULLIS_MAX_CONNECTIONS_PER_SOURCE",
        heading: LIMITS,
        value: "NUMBER",
        shape: Shape::One,
        default: Some("0"),
        help: "Connections of one source address, admitted or not; over it new ones are closed before TLS. 0 is off",
    },
    Flag {
        name: "--max-handshakes",
        variable: "PORTCULLIS_MAX_HANDSHAKES",
        heading: LIMITS,
        value: "NUMBER",
        shape: Shape::One,
        default: Some("256"),
        help: "Connections not yet admitted; over it the source that has most of them loses its oldest",
    },
    Flag {
        name: "--threads",
        variable: "PORTCULLIS_THREADS",
        heading: LIMITS,
        value: "NUMBER",
        shape: Shape::One,
        default: None,
        help: "Worker threads. Default: as many as the cgroup's CPU quota and the CPU affinity allow, but no more \
               than 4",
    },
    Flag {
        name: "--bind-timeout",
        variable: "PORTCULLIS_BIND_TIMEOUT",
        heading: TIMEOUTS,
        value: "DURATION",
        shape: Shape::One,
        default: Some("10s"),
        help: "How long a taken port, or an admin socket that answers, is retried at start. Durations are written 500ms, 10s, 5m, 1h; this one may be \
               1h at most",
    },
    Flag {
        name: "--handshake-timeout",
        variable: "PORTCULLIS_HANDSHAKE_TIMEOUT",
        heading: TIMEOUTS,
        value: "DURATION",
        shape: Shape::One,
        default: Some("10s"),
        help: "How long a client may take from accept to admission; 1h at most",
    },
    Flag {
        name: "--connect-timeout",
        variable: "PORTCULLIS_CONNECT_TIMEOUT",
        heading: TIMEOUTS,
        value: "DURATION",
        shape: Shape::One,
        default: Some("5s"),
        help: "How long the target may take to accept; 1h at most",
    },
    Flag {
        name: "--idle-timeout",
        variable: "PORTCULLIS_IDLE_TIMEOUT",
        heading: TIMEOUTS,
        value: "DURATION",
        shape: Shape::One,
        default: Some("10m"),
        help: "How long a session may go without a byte in either direction; 30days at most",
    },
    Flag {
        name: "--max-session",
        variable: "PORTCULLIS_MAX_SESSION",
        heading: TIMEOUTS,
        value: "DURATION",
        shape: Shape::One,
        default: Some("0"),
        help: "How long a session may last; 30days at most, 0 is off",
    },
    Flag {
        name: "--drain-timeout",
        variable: "PORTCULLIS_DRAIN_TIMEOUT",
        heading: TIMEOUTS,
        value: "DURATION",
        shape: Shape::One,
        default: Some("30s"),
        help: "How long sessions may take to finish after SIGTERM or SIGINT; 30days at most. Keep it below the pod's \
               grace period",
    },
    Flag {
        name: "--reload-interval",
        variable: "PORTCULLIS_RELOAD_INTERVAL",
        heading: TIMEOUTS,
        value: "DURATION",
        shape: Shape::One,
        default: Some("10s"),
        help: "How often certificates, key, CAs, revocation lists and the rules in the configuration file are read \
               again, beside file watching and SIGHUP; 1h at most",
    },
    Flag {
        name: "--log-format",
        variable: "PORTCULLIS_LOG_FORMAT",
        heading: LOG_AND_ADMIN,
        value: "text|json",
        shape: Shape::One,
        default: None,
        help: "How a log line on standard error looks. Default: text on a terminal, else json",
    },
    Flag {
        name: "--log-level",
        variable: "PORTCULLIS_LOG_LEVEL",
        heading: LOG_AND_ADMIN,
        value: "LEVEL",
        shape: Shape::One,
        default: Some("info"),
        help: "The least important level written: error, warn, info, debug or trace",
    },
    ADMIN,
];

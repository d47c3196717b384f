//! All settings there are, as every source has them, in the three groups of the file.
//!
//! Each group is read from any source by one function and laid over another source field by field; a setting that is
//! forgotten does not compile. Never asks what is right together; that is for `parse`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::address::{self, AdminAddress, Listen};
use super::setting::{Kind, Reader, Setting, Source};
use super::{
    Located, LogFormat, LogLevel, ProxyProtocol, StaleCrl, TargetAddress, TlsVersion, value,
};
use crate::policy::Rule;

/// The table `[tls]`.
#[derive(Debug)]
pub(super) struct TlsSettings {
    pub(super) cert: Setting<PathBuf>,
    pub(super) key: Setting<PathBuf>,
    pub(super) client_ca: Setting<Vec<Located<PathBuf>>>,
    pub(super) client_crl: Setting<Vec<Located<PathBuf>>>,
    pub(super) stale_crl: Setting<StaleCrl>,
    pub(super) tls_min: Setting<TlsVersion>,
    pub(super) allow_missing_eku: Setting<bool>,
}

impl TlsSettings {
    pub(super) fn read<S: Source>(mut from: Reader<'_, S>) -> Self {
        Self {
            cert: from.one("--cert", Kind::Text, value::path),
            key: from.one("--key", Kind::Text, value::path),
            client_ca: from.many("--client-ca", value::path),
            client_crl: from.many("--client-crl", value::path),
            stale_crl: from.one("--stale-crl", Kind::Text, value::stale_crl),
            tls_min: from.one("--tls-min", Kind::Version, value::tls_version),
            allow_missing_eku: from.one("--allow-missing-eku", Kind::Switch, value::switch),
        }
    }

    pub(super) fn over(self, below: Self) -> Self {
        let Self {
            cert,
            key,
            client_ca,
            client_crl,
            stale_crl,
            tls_min,
            allow_missing_eku,
        } = self;
        Self {
            cert: cert.over(below.cert),
            key: key.over(below.key),
            client_ca: client_ca.over(below.client_ca),
            client_crl: client_crl.over(below.client_crl),
            stale_crl: stale_crl.over(below.stale_crl),
            tls_min: tls_min.over(below.tls_min),
            allow_missing_eku: allow_missing_eku.over(below.allow_missing_eku),
        }
    }
}

/// The top level: what all routes share, but for TLS.
#[derive(Debug)]
pub(super) struct SharedSettings {
    pub(super) admin: Setting<AdminAddress>,
    pub(super) max_connections: Setting<NonZeroU32>,
    pub(super) max_connections_per_source: Setting<Option<NonZeroU32>>,
    pub(super) max_handshakes: Setting<NonZeroU32>,
    pub(super) bind_timeout: Setting<Duration>,
    pub(super) handshake_timeout: Setting<Duration>,
    pub(super) connect_timeout: Setting<Duration>,
    pub(super) idle_timeout: Setting<Duration>,
    pub(super) max_session: Setting<Option<Duration>>,
    pub(super) drain_timeout: Setting<Duration>,
    pub(super) reload_interval: Setting<Duration>,
    pub(super) log_format: Setting<LogFormat>,
    pub(super) log_level: Setting<LogLevel>,
    pub(super) threads: Setting<NonZeroUsize>,
}

impl SharedSettings {
    pub(super) fn read<S: Source>(mut from: Reader<'_, S>) -> Self {
        use Kind::{Duration, Number, Text};
        Self {
            admin: from.one("--admin", Text, address::admin),
            max_connections: from.one("--max-connections", Number, value::count),
            max_connections_per_source: from.one(
                "--max-connections-per-source",
                Number,
                value::count_or_off,
            ),
            max_handshakes: from.one("--max-handshakes", Number, value::count),
            bind_timeout: from.one("--bind-timeout", Duration, value::short_duration),
            handshake_timeout: from.one("--handshake-timeout", Duration, value::short_duration),
            connect_timeout: from.one("--connect-timeout", Duration, value::short_duration),
            idle_timeout: from.one("--idle-timeout", Duration, value::long_duration),
            max_session: from.one("--max-session", Duration, value::long_duration_or_off),
            drain_timeout: from.one("--drain-timeout", Duration, value::long_duration),
            reload_interval: from.one("--reload-interval", Duration, value::short_duration),
            log_format: from.one("--log-format", Text, value::log_format),
            log_level: from.one("--log-level", Text, value::log_level),
            threads: from.one("--threads", Number, value::threads),
        }
    }

    pub(super) fn over(self, below: Self) -> Self {
        let Self {
            admin,
            max_connections,
            max_connections_per_source,
            max_handshakes,
            bind_timeout,
            handshake_timeout,
            connect_timeout,
            idle_timeout,
            max_session,
            drain_timeout,
            reload_interval,
            log_format,
            log_level,
            threads,
        } = self;
        Self {
            admin: admin.over(below.admin),
            max_connections: max_connections.over(below.max_connections),
            max_connections_per_source: max_connections_per_source
                .over(below.max_connections_per_source),
            max_handshakes: max_handshakes.over(below.max_handshakes),
            bind_timeout: bind_timeout.over(below.bind_timeout),
            handshake_timeout: handshake_timeout.over(below.handshake_timeout),
            connect_timeout: connect_timeout.over(below.connect_timeout),
            idle_timeout: idle_timeout.over(below.idle_timeout),
            max_session: max_session.over(below.max_session),
            drain_timeout: drain_timeout.over(below.drain_timeout),
            reload_interval: reload_interval.over(below.reload_interval),
            log_format: log_format.over(below.log_format),
            log_level: log_level.over(below.log_level),
            threads: threads.over(below.threads),
        }
    }
}

/// The five kinds of name, or everybody.
#[derive(Debug)]
pub(super) struct AllowSettings {
    pub(super) dns: Setting<Vec<Located<Rule>>>,
    pub(super) uri: Setting<Vec<Located<Rule>>>,
    pub(super) cn: Setting<Vec<Located<Rule>>>,
    pub(super) ou: Setting<Vec<Located<Rule>>>,
    pub(super) spki: Setting<Vec<Located<Rule>>>,
}

impl AllowSettings {
    pub(super) fn read<S: Source>(mut from: Reader<'_, S>) -> Self {
        Self {
            dns: from.rules("--allow-dns", Rule::dns),
            uri: from.rules("--allow-uri", Rule::uri),
            cn: from.rules("--allow-cn", Rule::cn),
            ou: from.rules("--allow-ou", Rule::ou),
            spki: from.rules("--allow-spki", Rule::spki),
        }
    }
}

/// One route: a table `[[route]]`, or the one that flags make.
#[derive(Debug)]
pub(super) struct RouteSettings {
    pub(super) name: Setting<Arc<str>>,
    pub(super) listen: Setting<Listen>,
    pub(super) target: Setting<TargetAddress>,
    pub(super) unsafe_target: Setting<bool>,
    pub(super) allow: AllowSettings,
    pub(super) allow_any_client: Setting<bool>,
    pub(super) allow_from: Setting<Vec<Located<IpNet>>>,
    pub(super) proxy_protocol: Setting<ProxyProtocol>,
}

impl RouteSettings {
    pub(super) fn read<S: Source>(
        mut from: Reader<'_, S>,
        name: Setting<Arc<str>>,
        allow: AllowSettings,
    ) -> Self {
        Self {
            name,
            listen: from.one("--listen", Kind::Text, address::listen),
            target: from.one("--target", Kind::Text, address::target),
            unsafe_target: from.one("--unsafe-target", Kind::Switch, value::switch),
            allow,
            allow_any_client: from.one("--allow-any-client", Kind::Switch, value::switch),
            allow_from: from.many("--allow-from", address::network),
            proxy_protocol: from.one("--proxy-protocol", Kind::Text, value::proxy_protocol),
        }
    }

    /// Names are never laid over each other: two sources of them would widen who is in.
    pub(super) fn over(self, below: Self) -> Self {
        let Self {
            name,
            listen,
            target,
            unsafe_target,
            allow,
            allow_any_client,
            allow_from,
            proxy_protocol,
        } = self;
        Self {
            name: name.over(below.name),
            listen: listen.over(below.listen),
            target: target.over(below.target),
            unsafe_target: unsafe_target.over(below.unsafe_target),
            allow,
            allow_any_client: allow_any_client.over(below.allow_any_client),
            allow_from: allow_from.over(below.allow_from),
            proxy_protocol: proxy_protocol.over(below.proxy_protocol),
        }
    }
}

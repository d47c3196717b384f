//! What a configuration that is read again may change in a running process, and what waits for a restart.

use std::fmt;
use std::time::Duration;

use super::{Chosen, Config, Limits, Log, Place, Route, Timeouts, Tls};

/// A change in the file that takes effect with the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Where it is written, as closely as is known.
    pub place: Place,
    /// What it is about: the key of a setting, with its route if it has one, or a route.
    pub setting: String,
    /// What is in force; `None` for a route that is new.
    pub running: Option<String>,
    /// What is written; `None` for a route that is gone.
    pub configured: Option<String>,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, setting, .. } = self;
        write!(f, "{place}: {setting} ")?;
        match (&self.running, &self.configured) {
            (Some(running), Some(configured)) => {
                write!(f, "changed from {running} to {configured}")?;
            }
            (Some(_), None) => f.write_str("is gone")?,
            (None, _) => f.write_str("is new")?,
        }
        f.write_str("; restart the gate for that, until then it has no effect")
    }
}

impl Config {
    /// This configuration, which is in force, with the certificates and rules of `written`: the part that a running
    /// process follows. A route that is not there any more keeps the rules that it has, not those of the start. Also says
    /// what else differs and waits for a restart.
    pub fn with_trust_of(&self, written: &Self) -> (Self, Vec<Waiting>) {
        let mut followed = self.clone();
        followed.tls = written.tls.clone();
        let mut restart = self.other_changes(written);
        for route in &mut followed.routes {
            match written.routes.iter().find(|other| other.name == route.name) {
                Some(other) => {
                    route.allow.clone_from(&other.allow);
                    route.allow_from.clone_from(&other.allow_from);
                    restart.extend(route.moved(other));
                }
                None => restart.push(route.waits(true)),
            }
        }
        let is_new = |other: &&Route| !self.routes.iter().any(|route| route.name == other.name);
        restart.extend(
            written
                .routes
                .iter()
                .filter(is_new)
                .map(|route| route.waits(false)),
        );
        (followed, restart)
    }

    /// True if certificates and rules are the same, wherever they are written.
    pub fn same_trust(&self, other: &Self) -> bool {
        let same_rules = |(one, other): (&Route, &Route)| {
            one.allow == other.allow && one.allow_from == other.allow_from
        };
        self.tls.same(&other.tls)
            && self.routes.len() == other.routes.len()
            && self.routes.iter().zip(&other.routes).all(same_rules)
    }

    fn other_changes(&self, written: &Self) -> Vec<Waiting> {
        let pairs = self.fixed().into_iter().zip(written.fixed());
        let changed = pairs.filter(|(running, configured)| running.differs(configured));
        let waiting = |(running, configured): (Fixed, Fixed)| Waiting {
            place: Place::Flag("--config"),
            setting: running.key.to_owned(),
            running: Some(running.value),
            configured: Some(configured.value),
        };
        changed.map(waiting).collect()
    }

    /// Everything at the top level that is not followed. One that is forgotten here does not compile.
    fn fixed(&self) -> Vec<Fixed> {
        let Self {
            tls: _,
            routes: _,
            admin,
            limits,
            timeouts,
            reload_interval,
            log,
            threads,
        } = self;
        let Limits {
            connections,
            connections_per_source,
            handshakes,
        } = limits;
        let Timeouts {
            bind,
            handshake,
            connect,
            idle,
            session,
            drain,
        } = timeouts;
        let Log { format, level } = log;
        let time = |time: &Duration| humantime::format_duration(*time).to_string();
        let or_off = |value: Option<String>| value.unwrap_or_else(|| "0".to_owned());
        vec![
            Fixed::new("admin", admin),
            Fixed::new("max_connections", connections),
            Fixed::new(
                "max_connections_per_source",
                or_off(connections_per_source.map(|most| most.to_string())),
            ),
            Fixed::new("max_handshakes", handshakes),
            Fixed::new("bind_timeout", time(bind)),
            Fixed::new("handshake_timeout", time(handshake)),
            Fixed::new("connect_timeout", time(connect)),
            Fixed::new("idle_timeout", time(idle)),
            Fixed::new("max_session", or_off(session.as_ref().map(time))),
            Fixed::new("drain_timeout", time(drain)),
            Fixed::new("reload_interval", time(reload_interval)),
            Fixed::chosen("log_format", format),
            Fixed::new("log_level", level),
            Fixed::chosen("threads", threads),
        ]
    }
}

/// A setting that is not followed.
struct Fixed {
    key: &'static str,
    value: String,
    by_machine: bool,
}

impl Fixed {
    fn new(key: &'static str, value: impl fmt::Display) -> Self {
        Self {
            key,
            value: value.to_string(),
            by_machine: false,
        }
    }

    fn chosen<T: fmt::Display>(key: &'static str, value: &Chosen<T>) -> Self {
        Self {
            by_machine: value.is_by_machine(),
            ..Self::new(key, &**value)
        }
    }

    /// What the machine chose both times is no change, even if it would choose otherwise now.
    fn differs(&self, other: &Self) -> bool {
        self.value != other.value && !(self.by_machine && other.by_machine)
    }
}

impl Route {
    fn moved(&self, written: &Self) -> Vec<Waiting> {
        let settings = |route: &Self| {
            [
                ("listen", route.listen.value.to_string()),
                ("target", route.target.to_string()),
                ("proxy_protocol", route.proxy_protocol.to_string()),
            ]
        };
        let pairs = settings(self).into_iter().zip(settings(written));
        let changed = pairs.filter(|(running, configured)| running != configured);
        let waiting = |((key, running), (_, configured))| Waiting {
            place: match key {
                "listen" => written.listen.place.clone(),
                _ => Place::Flag("--config"),
            },
            setting: format!("{key} of route {:?}", self.name),
            running: Some(running),
            configured: Some(configured),
        };
        changed.map(waiting).collect()
    }

    /// The route as a whole waits: it is new or gone.
    fn waits(&self, is_served: bool) -> Waiting {
        let what = Some(format!("{} to {}", self.listen.value, self.target));
        let (place, running, configured) = match is_served {
            true => (Place::Flag("--config"), what, None),
            false => (self.listen.place.clone(), None, what),
        };
        Waiting {
            place,
            setting: format!("route {:?}", self.name),
            running,
            configured,
        }
    }
}

impl Tls {
    fn same(&self, other: &Self) -> bool {
        let Self {
            cert,
            key,
            client_ca,
            client_crl,
            stale_crl,
            min_version,
            allow_missing_eku,
        } = self;
        cert.value == other.cert.value
            && key.value == other.key.value
            && client_ca
                .iter()
                .map(|ca| &ca.value)
                .eq(other.client_ca.iter().map(|ca| &ca.value))
            && client_crl
                .iter()
                .map(|crl| &crl.value)
                .eq(other.client_crl.iter().map(|crl| &crl.value))
            && *stale_crl == other.stale_crl
            && *min_version == other.min_version
            && *allow_missing_eku == other.allow_missing_eku
    }
}

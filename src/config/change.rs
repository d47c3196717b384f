//! What a configuration that is read again may change in a running process, and what needs a restart.

use super::{Config, Place, Problem, Route, Tls};

impl Config {
    /// This configuration, which is in force, with the certificates and rules of `written`: the part that a running
    /// process follows. A route that is not there any more keeps the rules that it has, not those of the start. Also says
    /// what else differs, which needs a restart.
    pub fn with_trust_of(&self, written: &Self) -> (Self, Vec<Problem>) {
        let mut followed = self.clone();
        followed.tls = written.tls.clone();
        let mut restart = Vec::new();
        for route in &mut followed.routes {
            match written.routes.iter().find(|other| other.name == route.name) {
                Some(other) => {
                    route.allow.clone_from(&other.allow);
                    route.allow_from.clone_from(&other.allow_from);
                    restart.extend(route.moved(other));
                }
                None => restart.push(needs_restart(
                    &route.listen.place,
                    format!("route {:?} is gone", route.name),
                )),
            }
        }
        let is_new = |other: &&Route| !self.routes.iter().any(|route| route.name == other.name);
        restart.extend(written.routes.iter().filter(is_new).map(|route| {
            needs_restart(
                &route.listen.place,
                format!("route {:?} is new", route.name),
            )
        }));
        restart.extend(self.other_changes(written));
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

    fn other_changes(&self, written: &Self) -> Option<Problem> {
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
        let same = admin.same(&written.admin)
            && *limits == written.limits
            && *timeouts == written.timeouts
            && *reload_interval == written.reload_interval
            && *log == written.log
            && *threads == written.threads;
        (!same).then(|| {
            let what =
                "a setting of the top level (admin, limits, timeouts, log or threads) changed"
                    .to_owned();
            needs_restart(&Place::Flag("--config"), what)
        })
    }
}

impl Route {
    fn moved(&self, written: &Self) -> Option<Problem> {
        let same = self.listen.value == written.listen.value
            && self.target == written.target
            && self.proxy_protocol == written.proxy_protocol;
        let what = || {
            format!(
                "listen, target or proxy_protocol of route {:?} changed",
                self.name
            )
        };
        (!same).then(|| needs_restart(&written.listen.place, what()))
    }
}

fn needs_restart(place: &Place, what: String) -> Problem {
    Problem {
        place: place.clone(),
        value: None,
        what: format!("{what}; restart the gate for that, until then it has no effect"),
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

//! Routes: what each must have, what must not meet, and the [`Route`] made of it.
//!
//! Settings come in one by one valid; here they are judged together. A setting that was refused before is not reported
//! a second time as missing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::address::{self, AdminAddress, Listen};
use super::setting::{Defaults, Reader, Setting};
use super::settings::{AllowSettings, RouteSettings};
use super::{Located, Place, Problem, Route, Target, TargetAddress, surface};
use crate::policy::Allow;

/// The one route of a command line, its gaps filled with the defaults.
pub(super) fn from_flags(
    route: RouteSettings,
    problems: &mut Vec<Problem>,
) -> Located<RouteSettings> {
    let place = Place::Default("--allow-dns");
    let name = Setting::Set(Located {
        value: "default".into(),
        place: place.clone(),
    });
    let route = RouteSettings { name, ..route };
    let value = route.over(defaults(problems));
    Located { value, place }
}

/// A route of the file: what makes it the route it is has no default.
pub(super) fn from_file(
    route: Located<RouteSettings>,
    problems: &mut Vec<Problem>,
) -> Located<RouteSettings> {
    let Located { value, place } = route;
    let value = RouteSettings {
        name: required(value.name, "name = \"…\"", &place, problems),
        listen: required(value.listen, "listen = \"IP:PORT\"", &place, problems),
        target: required(
            value.target,
            "target = \"127.0.0.1:PORT\"",
            &place,
            problems,
        ),
        ..value
    };
    let value = value.over(defaults(problems));
    Located { value, place }
}

fn defaults(problems: &mut Vec<Problem>) -> RouteSettings {
    let allow = AllowSettings::read(Reader::of(&mut Defaults, problems));
    RouteSettings::read(Reader::of(&mut Defaults, problems), Setting::Unset, allow)
}

fn required<T>(
    setting: Setting<T>,
    example: &str,
    route: &Place,
    problems: &mut Vec<Problem>,
) -> Setting<T> {
    match setting {
        Setting::Unset => {
            let key = example.split(' ').next().unwrap_or_default();
            problems.push(Problem {
                place: below(route, key),
                value: None,
                what: format!("missing; write {example}"),
            });
            Setting::Refused
        }
        Setting::Refused | Setting::Set(_) => setting,
    }
}

fn below(place: &Place, key: &str) -> Place {
    match place.clone() {
        Place::File {
            key: table,
            file,
            line,
        } => Place::File {
            key: format!("{table}.{key}"),
            file,
            line,
        },
        place @ (Place::Flag(_) | Place::Variable(_) | Place::Default(_)) => place,
    }
}

/// Refuses flags that would silently do nothing because the file has the routes.
pub(super) fn refuse_beside_file(route: &RouteSettings, file: &Path, problems: &mut Vec<Problem>) {
    let RouteSettings {
        name: _,
        listen,
        target,
        unsafe_target,
        allow:
            AllowSettings {
                dns,
                uri,
                cn,
                ou,
                spki,
            },
        allow_any_client,
        allow_from,
        proxy_protocol,
    } = route;
    let places = [
        listen.place(),
        target.place(),
        unsafe_target.place(),
        dns.place(),
        uri.place(),
        cn.place(),
        ou.place(),
        spki.place(),
        allow_any_client.place(),
        allow_from.place(),
        proxy_protocol.place(),
    ];
    for place in places.into_iter().flatten() {
        problems.push(Problem {
            place: place.clone(),
            value: None,
            what: format!(
                "has no effect beside the routes of {0}; move it into a [[route]] of {0} or unset it",
                file.display()
            ),
        });
    }
}

/// Notes names and addresses that cannot stand beside each other.
pub(super) fn check_together(
    routes: &[Located<RouteSettings>],
    admin: &Setting<AdminAddress>,
    problems: &mut Vec<Problem>,
) {
    let routes = routes.iter().map(|route| &route.value);
    let names = routes.clone().filter_map(|route| route.name.written());
    for (at, name) in names.clone().enumerate() {
        if let Some(first) = names
            .clone()
            .take(at)
            .find(|first| first.value == name.value)
        {
            problems.push(Problem {
                place: name.place.clone(),
                value: Some(name.value.to_string()),
                what: format!("already the name of {}; choose another", first.place),
            });
        }
    }
    let listeners: Vec<Located<SocketAddr>> = routes
        .clone()
        .filter_map(|route| route.listen.written())
        .map(|listen| address_of(listen.clone()).0)
        .collect();
    for (at, listen) in listeners.iter().enumerate() {
        let mut before = listeners.iter().take(at);
        if let Some(first) = before.find(|first| address::clash(first.value, listen.value)) {
            problems.push(taken(listen, first));
        }
    }
    if let Some(Located {
        value: AdminAddress::Tcp(value),
        place,
    }) = admin.written()
    {
        let admin = Located {
            value: *value,
            place: place.clone(),
        };
        let mut listeners = listeners.iter();
        if let Some(first) = listeners.find(|first| address::clash(first.value, admin.value)) {
            problems.push(taken(&admin, first));
        }
    }
    for target in routes.filter_map(|route| route.target.written()) {
        let TargetAddress::Tcp(reached) = target.value else {
            continue;
        };
        let mut listeners = listeners.iter();
        if let Some(own) = listeners.find(|own| address::reaches(reached, own.value)) {
            problems.push(Problem {
                place: target.place.clone(),
                value: Some(reached.to_string()),
                what: format!(
                    "the gate would connect to itself, it listens there ({}); write the address of the service behind \
                     the gate",
                    own.place
                ),
            });
        }
    }
}

/// The address, and the variable that it comes from.
fn address_of(listen: Located<Listen>) -> (Located<SocketAddr>, Option<Arc<str>>) {
    let Located { value, place } = listen;
    let Listen { address, variable } = value;
    let address = Located {
        value: address,
        place,
    };
    (address, variable)
}

fn taken(listen: &Located<SocketAddr>, first: &Located<SocketAddr>) -> Problem {
    Problem {
        place: listen.place.clone(),
        value: Some(listen.value.to_string()),
        what: format!(
            "taken by {}, which is {}; choose another port",
            first.place, first.value
        ),
    }
}

/// Makes the route, or notes why it cannot be one.
pub(super) fn build(route: Located<RouteSettings>, problems: &mut Vec<Problem>) -> Option<Route> {
    let Located { value, place } = route;
    let RouteSettings {
        name,
        listen,
        target,
        unsafe_target,
        allow,
        allow_any_client,
        allow_from,
        proxy_protocol,
    } = value;
    let target = self::target(target, &unsafe_target, problems);
    let allow = self::allow(allow, &allow_any_client, &place, problems);
    let allow_from = match allow_from {
        Setting::Unset => Vec::new(),
        Setting::Set(networks) => networks.value.iter().map(|network| network.value).collect(),
        Setting::Refused => return None,
    };
    let (listen, listen_variable) = address_of(listen.located()?);
    Some(Route {
        name: name.value()?,
        listen,
        listen_variable,
        target: target?,
        allow: Arc::new(allow?),
        allow_from,
        proxy_protocol: proxy_protocol.value()?,
    })
}

fn target(
    target: Setting<TargetAddress>,
    unsafe_target: &Setting<bool>,
    problems: &mut Vec<Problem>,
) -> Option<Target> {
    let Located { value, place } = target.located()?;
    if let Some(target) = Target::loopback(value.clone()) {
        return Some(target);
    }
    match unsafe_target.written() {
        Some(permitted) if permitted.value => Some(Target::unsafe_any(value)),
        Some(_) => {
            problems.push(Problem {
                what: format!(
                    "not a loopback address, so plaintext would leave this host; write {}unix:/path, or permit it with {}",
                    on_loopback(&value),
                    switched_on("--unsafe-target", &place)
                ),
                place,
                value: Some(value.to_string()),
            });
            None
        }
        None => None,
    }
}

fn allow(
    allow: AllowSettings,
    any_client: &Setting<bool>,
    route: &Place,
    problems: &mut Vec<Problem>,
) -> Option<Allow> {
    let AllowSettings {
        dns,
        uri,
        cn,
        ou,
        spki,
    } = allow;
    let kinds = [dns, uri, cn, ou, spki];
    let any_client = any_client.written()?;
    if any_client.value
        && let Some(rules) = kinds.iter().find_map(Setting::place)
    {
        problems.push(Problem {
            place: any_client.place.clone(),
            value: None,
            what: format!("admits every client, but {rules} names some; leave one of them out"),
        });
        return None;
    }
    if kinds.iter().any(Setting::is_refused) {
        return None;
    }
    if any_client.value {
        return Some(Allow::AnyClient);
    }
    let lists = kinds.into_iter().filter_map(Setting::value);
    let allow = Allow::rules(lists.flatten().map(|rule| rule.value));
    if allow.is_none() {
        problems.push(nobody(route));
    }
    allow
}

fn nobody(route: &Place) -> Problem {
    let remedy = match route {
        Place::File { .. } => {
            "name the clients, like allow = { dns = [\"prometheus.monitoring.svc\"] }, or write allow_any_client = true \
             for all that the CA vouches for"
        }
        Place::Flag(_) | Place::Variable(_) | Place::Default(_) => {
            "name the clients with --allow-dns, --allow-uri, --allow-cn, --allow-ou or --allow-spki, or give \
             --allow-any-client for all that the CA vouches for"
        }
    };
    Problem {
        place: below(route, "allow"),
        value: None,
        what: format!("nobody would be admitted; {remedy}"),
    }
}

/// The same port of this host, and what else there is.
fn on_loopback(target: &TargetAddress) -> String {
    match target {
        TargetAddress::Tcp(address) => format!("127.0.0.1:{} or ", address.port()),
        TargetAddress::Unix(_) => String::new(),
    }
}

/// How the source of this place writes the flag.
fn switched_on(flag: &'static str, place: &Place) -> String {
    match place {
        Place::File { .. } => {
            format!("{} = true", flag.trim_start_matches('-').replace('-', "_"))
        }
        Place::Variable(_) => {
            let variable = surface::flag(flag).map_or(flag, |flag| flag.variable);
            format!("{variable}=true")
        }
        Place::Flag(_) | Place::Default(_) => flag.to_owned(),
    }
}

//! `portcullis check`: what `serve` would make of this configuration, without serving.
//!
//! The command line and the files it names in; what was found on standard output out. Judges nothing itself: the
//! functions that `serve` calls do. Never binds, connects or writes a file.

mod traps;

use std::time::SystemTime;

use rustls::pki_types::UnixTime;

use super::Failure;
use super::sheet::{Sheet, counted, expiry};
use crate::config::{Config, Flags, Limits, Problems, ProxyProtocol, Route, Timeouts, TlsVersion};
use crate::file::reader::run_once;
use crate::identity::printable;
use crate::policy::Allow;
use crate::trust::load::{Files, load};
use crate::trust::validate::{Validated, validate};
use crate::trust::{Digests, Generation};

/// Validates the configuration without starting
///
/// Reads the same flags, variables and file as serve and every file that they name, judges them with the same code,
/// and says what was found: the certificate and whether the key is its own, the CAs, the routes and whom they admit,
/// limits and timeouts. Whatever serve would refuse is refused here, all of it at once.
///
/// Then it warns of what would serve today and fail later: a port inside the kernel's ephemeral range, a file that is
/// mounted alone (subPath) and will never be renewed, a private key that every user can read, what some clients refuse
/// in the certificate or its chain, a target that listens beyond loopback, something that is in the way of the admin
/// socket; and of every setting that weakens the gate. Run it where the gate runs, as the user it runs as: ports, mounts
/// and modes are those of this machine.
///
/// Nothing is listened on, so a port that is already taken is not noticed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  A file, before it is rolled out:
    portcullis check --config gate.toml

  The flags of serve, exactly as they will be:
    portcullis check --cert certs/server/tls.crt --key certs/server/tls.key \\
      --client-ca certs/ca.crt --allow-dns prometheus.monitoring.svc

What was found goes to standard output; problems go to standard error, one a
line, with the flag or file:line, the value, what is wrong and what to do.

Exit codes:
  0  serve would start, if its ports are free; there may be warnings
  2  the command line, the configuration or a file it names is unusable")]
pub struct Check {
    #[command(flatten)]
    flags: Flags,
}

impl Check {
    /// Prints what was found.
    ///
    /// # Errors
    /// With every problem that `serve` would refuse to start for.
    pub fn run(&self) -> Result<(), Failure> {
        let flags = self.flags.clone();
        let (found, traps) = run_once(move || {
            let found = Found::new(&flags)?;
            let traps = traps::all(&found.config);
            Ok::<_, Problems>((found, traps))
        })??;
        let now = UnixTime::now();
        report(&found, &traps, now)
            .print()
            .map_err(Failure::Running)
    }
}

/// A configuration that is usable, with what its files hold.
pub(super) struct Found {
    pub(super) config: Config,
    pub(super) files: Files,
    pub(super) validated: Validated,
}

impl Found {
    /// Takes the steps of `serve` up to the point where it would bind. For a thread that may hang.
    pub(super) fn new(flags: &Flags) -> Result<Self, Problems> {
        let config = Config::parse(flags)?;
        let files = load(&config.tls)?;
        let validated = validate(&config, &files, None, SystemTime::now())?;
        Ok(Self {
            config,
            files,
            validated,
        })
    }
}

fn report(found: &Found, traps: &[String], now: UnixTime) -> Sheet {
    let Found {
        config,
        files,
        validated,
    } = found;
    let mut sheet = Sheet::default();
    server_certificate(&mut sheet, files, &validated.generation, now);
    client_cas(&mut sheet, validated, now);
    revocation_lists(&mut sheet, validated, now);
    for route in &config.routes {
        sheet.heading(&format!("Route {}", route.name));
        about_route(&mut sheet, route);
    }
    shared(&mut sheet, config);
    digests(&mut sheet, validated);
    let warnings: Vec<String> = validated
        .warnings
        .iter()
        .map(ToString::to_string)
        .chain(validated.generation.aging(SystemTime::now()))
        .chain(traps.iter().cloned())
        .collect();
    if !warnings.is_empty() {
        sheet.heading(&format!("Warnings: {}", warnings.len()));
        warnings.iter().for_each(|warning| sheet.item(warning));
    }
    sheet.gap();
    let number = warnings.len() as u64;
    sheet.sentence(&match number {
        0 => "This can be served.".to_owned(),
        _ => counted(number, "This can be served, with", "warning") + ".",
    });
    sheet
}

fn server_certificate(sheet: &mut Sheet, files: &Files, generation: &Generation, now: UnixTime) {
    let Generation { server, shown, .. } = generation;
    sheet.heading("Server certificate");
    sheet.fact("file", files.cert.path.display());
    sheet.fact("subject", named(&server.subject));
    sheet.list("names", or_none(&server.names));
    sheet.fact("serial", &server.serial);
    sheet.fact("expires", expiry(server.validity, now));
    let sent = counted(shown.sent as u64, "", "certificate");
    match shown.held.saturating_sub(shown.sent) {
        0 => sheet.fact("chain", sent),
        unsent => sheet.fact("chain", format_args!("{sent}, {unsent} more not sent")),
    }
    // Else it would not have been validated.
    sheet.fact(
        "key",
        format_args!("{} (matches)", files.key.path.display()),
    );
    sheet.fact("", &shown.key);
}

fn client_cas(sheet: &mut Sheet, validated: &Validated, now: UnixTime) {
    let cas: Vec<_> = validated.generation.vouching_cas(now).collect();
    sheet.heading(&format!("CAs that vouch for clients: {}", cas.len()));
    for (index, ca) in cas.iter().enumerate() {
        if index > 0 {
            sheet.gap();
        }
        sheet.fact("subject", named(&ca.facts.subject));
        sheet.fact("serial", &ca.facts.serial);
        sheet.fact("expires", expiry(ca.facts.validity, now));
        sheet.fact("file", ca.facts.path.display());
    }
}

fn revocation_lists(sheet: &mut Sheet, validated: &Validated, now: UnixTime) {
    let lists = &validated.generation.crls;
    if lists.is_empty() {
        return;
    }
    sheet.heading(&format!("Revocation lists: {}", lists.len()));
    for (index, list) in lists.iter().enumerate() {
        if index > 0 {
            sheet.gap();
        }
        sheet.fact("issuer", named(&list.issuer));
        sheet.fact("revokes", counted(list.entries as u64, "", "certificate"));
        sheet.fact("newer by", expiry(list.life, now));
        sheet.fact("file", list.path.display());
    }
}

/// What a route is, below a heading with its name.
fn about_route(sheet: &mut Sheet, route: &Route) {
    match &route.listen_variable {
        None => sheet.fact("listens", route.listen.value),
        Some(variable) => sheet.fact(
            "listens",
            format_args!("{} (the variable {variable})", route.listen.value),
        ),
    }
    match route.target.is_unsafe() {
        false => sheet.fact("target", &route.target),
        true => sheet.fact(
            "target",
            format_args!("{} (UNSAFE: plaintext leaves this host)", route.target),
        ),
    }
    admits(sheet, &route.allow);
    if route.allow_from.is_empty() {
        sheet.fact("from", "every network");
    } else {
        sheet.list("from", &route.allow_from);
    }
    match route.proxy_protocol {
        ProxyProtocol::Off => {}
        ProxyProtocol::V2 => sheet.fact("PROXY", "the target gets a v2 header"),
    }
}

/// Whom a route admits.
pub(super) fn admits(sheet: &mut Sheet, allow: &Allow) {
    match allow {
        Allow::AnyClient => sheet.fact("admits", "any-client (UNSAFE: everyone the CAs vouch for)"),
        Allow::Rules(_) => sheet.list(
            "admits",
            allow.to_strings().iter().map(|rule| printable(rule)),
        ),
    }
}

/// What to look for in `portcullis_trust_info` of every gate that has taken this up.
fn digests(sheet: &mut Sheet, validated: &Validated) {
    let Digests {
        server,
        client_ca,
        client_crl,
        rules,
    } = validated.generation.digests();
    sheet.heading("Digests, as in portcullis_trust_info");
    sheet.fact("server", server);
    sheet.fact("client_ca", client_ca);
    sheet.fact("client_crl", client_crl);
    sheet.fact("rules", rules);
}

fn shared(sheet: &mut Sheet, config: &Config) {
    sheet.heading("For all routes");
    sheet.fact(
        "TLS",
        match config.tls.min_version {
            TlsVersion::V1_2 => "1.2 and 1.3",
            TlsVersion::V1_3 => "1.3",
        },
    );
    if config.tls.allow_missing_eku {
        sheet.fact(
            "key usage",
            "may be missing in a client's certificate (UNSAFE)",
        );
    }
    sheet.fact("admin", &config.admin);
    let Limits {
        connections,
        connections_per_source,
        handshakes,
    } = config.limits;
    let per_source = connections_per_source.map_or("any number".to_owned(), |n| n.to_string());
    sheet.fact(
        "at once",
        format_args!(
            "{connections} admitted, {handshakes} in the handshake, {per_source} per source"
        ),
    );
    let Timeouts {
        bind,
        handshake,
        connect,
        idle,
        session,
        drain,
    } = config.timeouts;
    let time = humantime::format_duration;
    let session = session.map_or("unbounded".to_owned(), |it| time(it).to_string());
    let (bind, handshake, connect) = (time(bind), time(handshake), time(connect));
    let (idle, drain) = (time(idle), time(drain));
    sheet.list(
        "timeouts",
        [
            format!("bind {bind}, handshake {handshake}, connect {connect}"),
            format!("idle {idle}, session {session}, drain {drain}"),
        ],
    );
    sheet.fact("threads", *config.threads);
}

/// A certificate may have no subject, and none of its names.
fn named(subject: &str) -> &str {
    if subject.is_empty() {
        "(none)"
    } else {
        subject
    }
}

fn or_none(names: &[String]) -> Vec<&str> {
    match names {
        [] => vec!["(none)"],
        names => names.iter().map(String::as_str).collect(),
    }
}

#[cfg(test)]
mod tests;
